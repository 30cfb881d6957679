"""How commands begin: what they need is there before there is work to lose."""

import subprocess
import sys
from pathlib import Path

import pytest

from gan_training.__main__ import main

ARGUMENTS = ("--type", "cgan", "--data", "digits", "--steps", "1", "--out")
WITHOUT_TORCH = """
import sys
sys.modules["torch"] = None
sys.argv = ["gan-train", "--version"]
from gan_training.__main__ import main
main()
"""


@pytest.mark.parametrize("package", ["matplotlib", "jinja2"])
def test_a_package_of_the_report_is_missed_before_the_first_step(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setattr(sys, "argv", ["gan-train", *ARGUMENTS, str(out)])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 1
    told = capsys.readouterr().err.splitlines()[-1]
    assert told == f"gan-train: needs the package {package!r}; install it with: pip install 'ganworks[train]'"
    assert not (out / "ckpt.pt").exists()
    assert not (out / "metrics.jsonl").exists()


def test_the_version_is_told_without_torch() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT_TORCH], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("gan-train ")
