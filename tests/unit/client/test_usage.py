"""What `gan-client` says to a command line that can't be meant."""

import pytest

from gan_client.program import run


@pytest.mark.parametrize(
    ("arguments", "told", "help_of"),
    [
        (
            ["--n", "4", "sample"],
            "No such option: --n; its options follow the command: `gan-client sample --n 64`",
            "",
        ),
        (["health", "--uri", "http://nowhere"], "No such option: --uri", " health"),
        (["sample", "--n", "0"], "n is 0: it must be an integer from 1 to 100000", " sample"),
        (["draw"], "No such command 'draw'.", ""),
    ],
)
def test_options_and_commands_that_are_none(
    arguments: list[str], told: str, help_of: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    assert line.startswith(f"gan-client: {told} (")
    assert line.endswith(f"see `gan-client{help_of} --help`)")
