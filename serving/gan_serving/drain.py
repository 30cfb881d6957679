"""SIGTERM: what was taken is finished, in bounded time; nothing else is taken."""

from __future__ import annotations

import signal
from types import FrameType
from typing import Final

import uvicorn

from .worker import Worker

LEAST_SECONDS: Final = 0.01
"""With 0, uvicorn would not even look whether a request is open, and complain of those that it cuts off."""


def is_stopping() -> bool:
    """Whether the process was told to stop, while its server only starts."""
    server = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    return isinstance(server, uvicorn.Server) and server.should_exit


def install(worker: Worker) -> uvicorn.Server | None:
    """Mark the worker when the process is told to stop, and bound the time that uvicorn waits for open requests.

    uvicorn closes its sockets and idle connections at once, and waits for the others: without the bound, for ever. Its
    own handler is called as before. Call this in the main thread, while the server runs.

    Returns:
        The server; None where the application is called directly, as in tests.
    """
    found: uvicorn.Server | None = None
    for number in (signal.SIGTERM, signal.SIGINT):
        handler = signal.getsignal(number)
        server = getattr(handler, "__self__", None)
        if not callable(handler) or not isinstance(server, uvicorn.Server):
            continue
        found = server
        if server.config.timeout_graceful_shutdown is None:
            # uvicorn only hands it to asyncio, which takes fractions too.
            server.config.timeout_graceful_shutdown = max(LEAST_SECONDS, worker.settings.drain)  # type: ignore[assignment]

        def stop(number: int, frame: FrameType | None, handler: object = handler) -> None:
            worker.draining = True
            assert callable(handler)
            handler(number, frame)

        signal.signal(number, stop)
    return found
