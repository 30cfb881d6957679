"""Signals end a command once, and let it clean up."""

import signal
from signal import SIGINT, SIGTERM

import pytest

from gan_client.commands.stopping import CommandStopped, Stop, stop_on_signals


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
