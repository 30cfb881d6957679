"""Signals end a command once, and let it clean up."""

import os
import signal
import subprocess
import sys
from signal import SIGINT, SIGTERM

import pytest

from gan_client.commands.stopping import CommandStopped, Stop, stop_on_signals

SIGNALLED = """
import os, sys
def watch(frame, _event, _argument):
    if os.environ["AT"] in (frame.f_code.co_name, "/".join(frame.f_code.co_filename.split(os.sep)[-2:])):
        sys.setprofile(None)
        os.kill(os.getpid(), int(os.environ["NUMBER"]))
sys.setprofile(watch)
from gan_client.cli import main
main()
"""


@pytest.mark.parametrize("at", ["typer/__init__.py", "get_group_from_info"])
@pytest.mark.parametrize(("number", "code", "word"), [(SIGINT, 130, "interrupted"), (SIGTERM, 143, "terminated")])
def test_a_signal_before_the_command_begins_is_one_line(number: signal.Signals, code: int, word: str, at: str) -> None:
    """While modules are imported, and while Typer puts the commands together."""
    env = os.environ | {"NUMBER": str(int(number)), "AT": at}
    before = signal.signal(SIGINT, signal.default_int_handler)  # a child inherits it where it is ignored
    done = subprocess.run([sys.executable, "-c", SIGNALLED], env=env, capture_output=True, text=True, check=False)
    signal.signal(SIGINT, before)
    assert (done.returncode, done.stderr) == (code, f"gan-client: {word}\n")


def test_signals_that_follow_at_once_leave_the_cleaning_up_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    stop, raised = Stop(), []
    moments = [(SIGINT, 100.0), (SIGINT, 100.001), (SIGTERM, 100.9), (SIGTERM, 101.1), (SIGTERM, 101.2)]
    for number, now in moments:
        try:
            stop(number, None)
        except (KeyboardInterrupt, CommandStopped) as error:
            raised.append((now, type(error)))
    assert raised == [(100.0, KeyboardInterrupt), (101.1, CommandStopped)]


@pytest.mark.parametrize(("ignored", "other"), [(SIGINT, SIGTERM), (SIGTERM, SIGINT)])
def test_ignored_signals_stay_ignored(ignored: signal.Signals, other: signal.Signals) -> None:
    """As `nohup` and `command &` of a script leave them."""
    before = signal.signal(ignored, signal.SIG_IGN), signal.signal(other, signal.SIG_DFL)
    try:
        stop_on_signals()
        assert signal.getsignal(ignored) is signal.SIG_IGN
        assert isinstance(signal.getsignal(other), Stop)
    finally:
        for number, handler in zip((ignored, other), before, strict=True):
            signal.signal(number, handler)
