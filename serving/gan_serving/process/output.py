"""Standard output, written by a thread of its own: requests are answered also while nobody reads it."""

from __future__ import annotations

import atexit
import logging
import os
import select
import sys
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Final

logger = logging.getLogger("bentoml.ganworks")

MOST_WAITING: Final = 10_000
"""Texts that wait to be written, a line of the log each; what comes while there are so many is dropped."""
GATHER_SECONDS: Final = 0.02
"""How long a text waits for others, with which it is written in one call of the system."""
CLOSE_SECONDS: Final = 2.0
"""How long a worker that stops waits for what is not yet written."""
_WHOLE_BYTES: Final = 4096
"""What Linux writes into a pipe without mixing it with what other processes write (PIPE_BUF)."""


class Output:
    """A stream for whole lines, which any thread may write to and none waits for.

    Its thread writes to the descriptor itself: one that hung inside `sys.stdout` would hold its lock for ever, and
    abort Python when the process ends.

    Args:
        descriptor: to write to.
    """

    def __init__(self, descriptor: int = 1) -> None:
        self._descriptor = descriptor
        self._waiting: deque[str] = deque()
        self._filled = threading.Event()
        self._writing = False
        self._dropped = 0
        self._closed = False
        self._beginning = threading.Lock()
        self._thread: threading.Thread | None = (
            None  # begun with the first text: not in a process that forks or serves nothing
        )

    def write(self, text: str) -> None:
        """Take one or more whole lines, or drop them where too much waits already."""
        if self._closed:
            if self._is_ready():
                self._put(text)
        elif len(self._waiting) >= MOST_WAITING:
            self._dropped += 1
        else:
            self._waiting.append(text)
            if not self._filled.is_set():
                self._wake()

    def flush(self) -> None:
        """Nothing: the thread writes soon. A stream has this method."""

    def close(self, seconds: float = CLOSE_SECONDS) -> None:
        """Wait until everything is written, for a limited time. What comes later is written at once, or dropped where
        that would have to wait. A second call doesn't wait again."""
        if self._closed:
            return
        self._closed = True
        end = time.monotonic() + seconds
        # In this order: the thread is writing before it takes anything away.
        while (self._waiting or self._writing) and time.monotonic() < end:
            time.sleep(GATHER_SECONDS / 4)

    def _wake(self) -> None:
        with self._beginning:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="output", daemon=True)
                self._thread.start()
        self._filled.set()

    def _run(self) -> None:
        while True:
            self._filled.wait()
            time.sleep(GATHER_SECONDS)
            self._writing = True
            self._filled.clear()
            for piece in _pieces(self._waiting.popleft() for _ in range(len(self._waiting))):
                self._put(piece)
            self._writing = False
            dropped, self._dropped = self._dropped, 0
            if dropped:
                logger.warning("standard output took nothing for a while: %d lines of the log were dropped", dropped)

    def _put(self, text: str) -> None:
        left = memoryview(text.encode(errors="backslashreplace"))
        try:
            while left:
                try:
                    left = left[os.write(self._descriptor, left) :]
                except BlockingIOError:  # somebody has set it so, whose terminal it is too
                    select.select([], [self._descriptor], [])
        except OSError:
            pass  # whoever read it has gone

    def _is_ready(self) -> bool:
        try:
            return bool(select.select([], [self._descriptor], [], 0)[1])
        except OSError:
            return False


OUTPUT: Final = Output()
"""This process's."""


def open_missing_streams() -> None:
    """Open the standard streams that this process was started without on the null device, for its workers too.

    What is opened first would have their numbers, be it the file of a worker's metrics or a client's connection, and
    the log would be written into it.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest number that is free: this one


def write_logs_aside() -> None:
    """Have what is logged to standard output written by the thread too; BentoML has set up the handlers before."""
    atexit.register(OUTPUT.close)  # where the service ends without being stopped in an orderly way
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.StreamHandler) and handler.stream is sys.stdout:
            handler.setStream(OUTPUT)


def _pieces(texts: Iterable[str]) -> Iterator[str]:
    """Whole lines, as many at a time as stay together where several workers share a pipe."""
    piece, size = list[str](), 0
    for text in texts:
        if piece and size + len(text) > _WHOLE_BYTES:
            yield "".join(piece)
            piece, size = [], 0
        piece.append(text)
        size += len(text)
    yield "".join(piece)
