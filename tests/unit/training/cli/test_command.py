"""How commands begin, what they need is there before there is work to lose; and what signals do to them."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from gan_training.__main__ import main
from gan_training.cli.command import Stop, run_module

SIGNALS = (signal.SIGINT, signal.SIGTERM)
ARGUMENTS = ("--type", "cgan", "--data", "digits", "--steps", "1", "--out")
WITHOUT_TORCH = """
import sys
sys.modules["torch"] = None
sys.argv = ["gan-train", "--version"]
from gan_training.__main__ import main
main()
"""


ENTERED = """
import sys
from {package}.__main__ import main
print(sorted({{"torch", "typer", "pydantic", "numpy"}} & sys.modules.keys()))
"""
SIGNALLED_WHILE_IMPORTING = """
import os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
Path(sys.argv[1], "slow.py").write_text(
    "import os\\n"
    "try: os.kill(os.getpid(), int(os.environ['NUMBER']))\\n"
    "except BaseException: os.abort()\\n"  # as compiled modules do
)
from gan_training.cli.command import run_module
run_module("slow", "gan-train", "train")
"""


@pytest.fixture(autouse=True)
def same_handlers() -> Iterator[None]:
    """A command handles signals until its process ends."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


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


@pytest.mark.parametrize("package", ["gan_training", "gan_export"])
def test_little_is_imported_before_ctrl_c_can_be_told_in_a_line(package: str) -> None:
    command = [sys.executable, "-c", ENTERED.format(package=package)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_while_modules_are_imported_is_one_line(number: signal.Signals, tmp_path: Path) -> None:
    command = [sys.executable, "-c", SIGNALLED_WHILE_IMPORTING, tmp_path]
    env = os.environ | {"NUMBER": str(int(number))}
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a child inherits it where it is ignored
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    signal.signal(signal.SIGINT, before)
    assert (done.returncode, done.stderr) == (130, "gan-train: stopped\n")


def test_ignored_signals_stay_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """As `nohup` and `command &` of a script leave them."""
    module, seen = ModuleType("at_work"), []
    monkeypatch.setattr(module, "main", lambda: seen.extend(map(signal.getsignal, SIGNALS)), raising=False)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(sys, "argv", ["gan-train"])
    for ignored, other in (SIGNALS, SIGNALS[::-1]):
        signal.signal(ignored, signal.SIG_IGN)
        signal.signal(other, signal.SIG_DFL)
        run_module(module.__name__, "gan-train", "train")
    assert [type(handler) for handler in seen] == [signal.Handlers, Stop, Stop, signal.Handlers]


def test_signals_that_follow_at_once_leave_the_cleaning_up_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    stop, raised = Stop(), []
    for now in (100.0, 100.001, 100.9, 101.1):
        try:
            stop(signal.SIGTERM, None)
        except KeyboardInterrupt:
            raised.append(now)
    assert raised == [100.0, 101.1]
