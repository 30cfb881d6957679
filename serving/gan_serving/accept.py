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
"""Connections that one turn of the loop accepts beside libuv's own; with more, the first of several workers to wake up
would take them all."""


class Listener(Protocol):
    """What is needed of a socket that the loop listens on."""

    def fileno(self) -> int: ...


class Backlog:
    """The connections that a uvicorn server has not accepted yet. `server` is set before it takes any."""

    def __init__(self) -> None:
        self.server: uvicorn.Server | None = None
        self._opening: set[asyncio.Task[object]] = set()

    def take(self, protocol: Callable[[], asyncio.Protocol]) -> None:
        """Accept what waits behind a connection that libuv accepted just now.

        Args:
            protocol: makes the protocol of each; it must not take more in its turn.
        """
        if self.server is None or self.server.should_exit:
            return
        for server in self.server.servers:
            for listener in server.sockets:
                self._accept(listener, protocol)

    def _accept(self, listener: Listener, protocol: Callable[[], asyncio.Protocol]) -> None:
        assert self.server is not None
        loop = asyncio.get_running_loop()
        listening = socket.socket(fileno=listener.fileno())
        try:
            for _ in range(AT_ONCE):
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
        if not task.cancelled():
            task.exception()  # a client that left, or one that speaks no TLS: nobody else's affair
