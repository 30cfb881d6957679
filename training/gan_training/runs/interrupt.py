"""Ctrl-C and SIGTERM that leave no training step half done."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any


class CtrlC:
    """While entered, SIGINT is only noted, so that no step is left half done; a second one does what it did before.

    SIGTERM is noted too, however often it comes, where the program handles it: then it asks for a stop, as gan-train
    does. Left alone it ends the process, and ignored signals stay ignored.
    """

    def __init__(self) -> None:
        self.pressed = False
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> CtrlC:
        # Python runs handlers in the main thread alone. Those that aren't Python's could not be put back.
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                if callable(signal.getsignal(number)):
                    self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number in [*self._previous]:
            self._restore(number)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self.pressed = True
        if number == signal.SIGINT:
            self._restore(number)

    def _restore(self, number: int) -> None:
        previous = self._previous.pop(number, None)
        if previous is not None:
            signal.signal(number, previous)
