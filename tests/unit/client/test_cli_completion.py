"""What the shell and the terminal get of gan-client besides images: completion, and cards that steer nothing."""

import re
import subprocess
import sys

import pytest
from rich.console import Console

from gan_client.commands.models import print_card

BASH = """
source <(_GAN_CLIENT_COMPLETE=source_bash gan-client)
COMP_WORDS=({words}); COMP_CWORD={index}
_gan_client_completion gan-client
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_card_does_not_steer_the_terminal(capsys, is_terminal):
    card = "# Digits\n\x1b]0;title\x07 \x1b[2J\x9b31m drawn\n\n![samples](preview.png)\n"
    console = Console(file=sys.stdout, force_terminal=is_terminal, color_system=None)
    print_card(console, card, "digits")
    printed = capsys.readouterr().out
    assert "Digits" in printed
    assert "?]0;title?" in printed
    assert not {"\x07", "\x9b"} & set(printed)
    assert re.findall(r"\x1b[^m]*m?", printed) == re.findall(r"\x1b\[[0-9;]*m", printed)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(shell, tmp_path):
    home = {"HOME": str(tmp_path), "PATH": f"{sys.prefix}/bin:/usr/bin:/bin"}
    script = subprocess.run(
        ["gan-client"],
        env={**home, "_GAN_CLIENT_COMPLETE": f"source_{shell}"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert script.returncode == 0
    assert f"complete_{shell}" in script.stdout
    about = {
        "bash": {"COMP_WORDS": "gan-client int", "COMP_CWORD": "1"},
        "zsh": {"_TYPER_COMPLETE_ARGS": "gan-client int"},
        "fish": {"_TYPER_COMPLETE_ARGS": "gan-client int", "_TYPER_COMPLETE_FISH_ACTION": "get-args"},
    }[shell]
    found = subprocess.run(
        ["gan-client"], env={**home, "_GAN_CLIENT_COMPLETE": f"complete_{shell}", **about},
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert "interpolate" in found.stdout
    assert "sample" not in found.stdout


def test_completion_in_bash_itself(service, tmp_path):
    def complete(*words):
        script = BASH.format(words=" ".join(f"'{word}'" for word in words), index=len(words) - 1)
        done = subprocess.run(
            ["bash", "--norc", "-c", script],
            env={"HOME": str(tmp_path), "PATH": f"{sys.prefix}/bin:/usr/bin:/bin", "GAN_URL": service.url},
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        return done.stdout.split()

    assert complete("gan-client", "sample", "--lab") == ["--label", "--labels"]
    assert complete("gan-client", "sample", "--model", "ac") == ["acgan"]


def test_install_completion_for_the_shell_that_runs_it(tmp_path):
    done = subprocess.run(
        ["bash", "--norc", "-c", "gan-client --install-completion; true"],
        env={"HOME": str(tmp_path), "PATH": f"{sys.prefix}/bin:/usr/bin:/bin"},
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "gan-client.sh" in (tmp_path / ".bashrc").read_text()
    assert "complete_bash" in (tmp_path / ".bash_completions" / "gan-client.sh").read_text()
