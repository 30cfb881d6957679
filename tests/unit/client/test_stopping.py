"""Signals end a command once, and let it clean up."""

from signal import SIGINT, SIGTERM

import pytest

from gan_client.commands.stopping import CommandStopped, Stop


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
