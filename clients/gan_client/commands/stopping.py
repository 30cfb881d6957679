"""Ending a command before its end."""

from __future__ import annotations

import math
import os
import signal
import time
from collections.abc import Callable
from typing import Final, NoReturn

PROGRAM: Final = "gan-client"
INTERRUPTED: Final = 130  # 128 + SIGINT, as shells have it
TERMINATED: Final = 143  # 128 + SIGTERM
CLEANING_SECONDS: Final = 1.0  # after a signal, in which others are taken for the same one


class CommandStopped(BaseException):
    """Somebody ended the command: no error, and nothing that a handler of errors should catch."""

    def __init__(self, message: str, code: int) -> None:
        """`message` is the one line for stderr, `code` the exit code."""
        super().__init__(message)
        self.code = code


class Stop:
    """Handler of SIGINT and SIGTERM: raises, so that what is half written goes.

    One that follows at once would hit just this cleaning up, and is ignored: `timeout` sends two.
    """

    def __init__(self) -> None:
        self._raised = -math.inf

    def __call__(self, number: int, _frame: object) -> None:
        """Raises KeyboardInterrupt for SIGINT, and CommandStopped for SIGTERM."""
        now = time.monotonic()
        if now - self._raised <= CLEANING_SECONDS:
            return
        self._raised = now
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        raise CommandStopped("terminated", TERMINATED)


def _leave(number: int, _frame: object) -> NoReturn:
    """Ends the process: nothing is half written yet, and an exception in the middle of a module that is being imported
    may come out as any other."""
    word, code = ("interrupted", INTERRUPTED) if number == signal.SIGINT else ("terminated", TERMINATED)
    os.write(2, f"{PROGRAM}: {word}\n".encode())
    os._exit(code)


def leave_on_signals() -> None:
    """From now on SIGINT and SIGTERM end the process, with a line."""
    _handle(_leave)


def stop_on_signals() -> None:
    """From now on a Stop handles SIGINT and SIGTERM."""
    _handle(Stop())


def _handle(handler: Callable[[int, object], None]) -> None:
    """SIGINT and SIGTERM, unless the parent process wants them ignored."""
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, handler)
