"""SIGTERM: what was taken is finished, in bounded time; nothing else is taken."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Final

import uvicorn

LEAST_SECONDS: Final = 0.01
"""With 0, uvicorn would not even look whether a request is open, and complain of those that it cuts off."""


PARENT_VARIABLE: Final = "GANWORKS_PARENT"
"""Where `bentoml serve` tells its workers which process it is."""
_PR_SET_PDEATHSIG: Final = 1  # prctl(2)


def is_stopping() -> bool:
    """Whether the process was told to stop, while its server only starts."""
    server = _server_told_by(signal.SIGTERM)
    return server is not None and server.should_exit


def stop_with_parent() -> None:
    """Have this worker told to stop when the process that started it is killed; it would hold the port for ever.

    On Linux alone. In a process that no uvicorn serves from, nothing is done.
    """
    if sys.platform == "linux" and _server_told_by(signal.SIGTERM) is not None:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
        if _is_orphan(os.environ.get(PARENT_VARIABLE)):  # since before the line above: nothing will tell
            signal.raise_signal(signal.SIGTERM)


def _is_orphan(parent: str | None) -> bool:
    """Whether the process of that number, which started this one, has ended, be it only for its own parent to see."""
    if parent is None or os.getppid() == int(parent):
        return False
    try:
        state = Path(f"/proc/{parent}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return Path("/proc/self/stat").exists()
    except OSError:
        return False
    return state in ("Z", "X")


def install(seconds: float, on_stop: Callable[[], None]) -> uvicorn.Server | None:
    """Tell the worker when the process is told to stop, and bound the time that uvicorn waits for open requests.

    uvicorn closes its sockets and idle connections at once, and waits for the others: without the bound, for ever. Its
    own handler is called as before. Call this in the main thread, while the server runs.

    Args:
        seconds: that open requests have.
        on_stop: is called first, in the signal's handler.

    Returns:
        The server; None where the application is called directly, as in tests.
    """
    found: uvicorn.Server | None = None
    for number in (signal.SIGTERM, signal.SIGINT):
        handler, server = signal.getsignal(number), _server_told_by(number)
        if server is None:
            continue
        found = server
        if server.config.timeout_graceful_shutdown is None:
            # uvicorn only hands it to asyncio, which takes fractions too.
            server.config.timeout_graceful_shutdown = max(LEAST_SECONDS, seconds)  # type: ignore[assignment]

        def stop(number: int, frame: FrameType | None, handler: object = handler) -> None:
            on_stop()
            assert callable(handler)
            handler(number, frame)

        signal.signal(number, stop)
    return found


def _server_told_by(number: signal.Signals) -> uvicorn.Server | None:
    """The server whose own handler gets that signal."""
    server = getattr(signal.getsignal(number), "__self__", None)
    return server if isinstance(server, uvicorn.Server) else None
