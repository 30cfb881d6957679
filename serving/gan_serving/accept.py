"""Connections that come in a burst are taken together.

libuv, on which uvloop stands, accepts one connection in each turn of its loop (libuv's pull request 3696). Under load a
turn answers dozens of requests, and the last of a hundred new connections waited for a hundred turns.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Final, Protocol

import uvicorn

AT_ONCE: Final = 16
"""Connections that one turn of the loop accepts beside libuv's own."""


class Listener(Protocol):
    """What is needed of a socket that the loop listens on."""

    def fileno(self) -> int: ...


class Backlog:
    """The connections that a uvicorn server has not accepted yet. `server` is set before it takes any."""

    def __init__(self) -> None:
        self.server: uvicorn.Server | None = None
        self._opening: set[asyncio.Task[object]] = set()

    @property
    def is_closed(self) -> bool:
        """Whether the server was told to stop."""
        return self.server is not None and self.server.should_exit

    def take(self, protocol: Callable[[], asyncio.Protocol], most: int) -> None:
        """Accept what waits behind a connection that libuv accepted.

        Args:
            protocol: makes the protocol of each; it must not take more in its turn.
            most: how many connections there is room for.
        """
        if self.server is None or self.is_closed:
            return
        for server in self.server.servers:
            for listener in server.sockets:
                self._accept(listener, protocol, min(most, AT_ONCE))

    def _accept(self, listener: Listener, protocol: Callable[[], asyncio.Protocol], most: int) -> None:
        assert self.server is not None
        loop = asyncio.get_running_loop()
        listening = socket.socket(fileno=listener.fileno())
        listening.setblocking(False)
        try:
            for _ in range(most):
                try:
                    connection, _ = listening.accept()
                except OSError:  # nobody waits any more; or no descriptor is left, which libuv finds out by itself
                    return
                connection.setblocking(False)
                opening = loop.connect_accepted_socket(protocol, connection, ssl=self.server.config.ssl)
                task: asyncio.Task[object] = loop.create_task(opening)
                self._opening.add(task)
                task.add_done_callback(self._opened)
        finally:
            listening.detach()  # it is the loop's, and stays open

    def _opened(self, task: asyncio.Task[object]) -> None:
        self._opening.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, OSError):  # a client that left, or one that speaks no TLS
            task.get_loop().call_exception_handler({"message": "a connection was not opened", "exception": error})
