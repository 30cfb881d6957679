"""A file whose file system hangs, with nothing replaced."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest


@contextlib.contextmanager
def hanging(path: Path) -> Iterator[threading.Event]:
    """Whoever opens the file meanwhile waits, as on a network file system whose server is gone.

    The kernel waits for the holder of a lease, for 45 s unless an administrator changed that. In the main thread only.

    Yields:
        An event that is set when somebody waits.
    """
    waits = threading.Event()
    signal.signal(signal.SIGIO, lambda _number, _frame: waits.set())
    file = os.open(path, os.O_RDWR)
    try:
        try:
            fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        except OSError as error:
            pytest.skip(f"needs a file system with leases: {error.strerror}")
        yield waits
    finally:
        os.close(file)
        # Not what it was: by default a signal that comes late would end this process, and all tests in it.
        signal.signal(signal.SIGIO, signal.SIG_IGN)
