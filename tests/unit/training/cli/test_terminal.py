"""What the commands write to stderr beside their messages: something that moves on a terminal, nothing in a file."""

from collections.abc import Callable
from pathlib import Path

import pytest

from gan_export.cli.export import main as gan_export
from gan_export.cli.verify import main as gan_verify
from gan_training.cli.progress import Reporter
from gan_training.cli.train import main as gan_train

MISSING = "no/such.pt"


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        (gan_train, ("--type", "dcgan", "--data", "npz:no.npz")),
        (gan_export, (MISSING,)),
        (gan_verify, (MISSING,)),
    ],
)
def test_colours_that_are_asked_for_move_no_cursor_in_a_file(
    command: Callable[[tuple[str, ...]], None],
    arguments: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FORCE_COLOR", "1")
    with pytest.raises(SystemExit) as refused:
        command(arguments)
    told = capfd.readouterr().err
    assert refused.value.code == 1
    assert told.startswith("gan-")
    assert told.count("\n") == 1
    assert "\x1b" not in told


@pytest.mark.parametrize(("forced", "expected"), [("1", "\x1b[1;33mred\x1b[0m\n"), (None, "red\n")])
def test_a_file_is_coloured_where_that_is_asked_for(
    forced: str | None, expected: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    if forced is not None:
        monkeypatch.setenv("FORCE_COLOR", forced)
    with Reporter() as reporter:
        reporter.line("red", style="bold yellow")
    assert capfd.readouterr().err == expected
