"""Connections that come in a burst are taken together, and shared between the workers.

libuv, on which uvloop stands, accepts one connection in each turn of its loop (libuv's pull request 3696). Under load a
turn answers dozens of requests, and the last of a hundred new connections waited for a hundred turns.

Workers listen on one socket, and whichever looks first has what waits there: of eight connections that came together
one worker mostly had all eight, and the other nothing to do. So each takes its part, and one that is ahead of another
leaves it a moment to take the rest.
"""

from __future__ import annotations

import asyncio
import errno
import math
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Final

import uvicorn

from .connection_counts import ConnectionCounts

AT_ONCE: Final = 16
"""Connections that one turn of the loop accepts beside libuv's own."""
PATIENCE: Final = 0.01
"""Seconds for which a worker that is ahead leaves connections to the others; they may be busy, or gone."""
NO_ROOM_PAUSE: Final = 0.1
"""Seconds for which nothing is accepted where the system has no room; connections wait meanwhile."""
_NO_ROOM: Final = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
LEAD: Final = 8
"""A worker is ahead with more connections than another one and an eighth."""
_BACKLOG: Final = struct.Struct("24xI")
"""Where Linux's tcp_info has the number of connections that wait for a listening socket (`tcpi_unacked`)."""


class Backlog:
    """The connections that a uvicorn server has not accepted yet.

    `server` is set before it takes any; so are `counts`, where several workers listen on the same sockets.
    """

    def __init__(self) -> None:
        self.server: uvicorn.Server | None = None
        self.counts: ConnectionCounts | None = None
        self._taken_over = False
        self._opening: set[asyncio.Task[object]] = set()

    @property
    def is_closed(self) -> bool:
        """Whether the server was told to stop."""
        return self.server is not None and self.server.should_exit

    def count(self, connections: int) -> None:
        """Tell the other workers how many connections this one has."""
        if self.counts is not None:
            self.counts.own = connections + len(self._opening)

    def take(self, protocol: Callable[[], asyncio.Protocol], most: int) -> None:
        """Accept what waits behind a connection that libuv accepted.

        Args:
            protocol: makes the protocol of each; it must not take more in its turn.
            most: how many connections this worker may have; 0: any number.
        """
        if self.server is None or self.is_closed:
            return
        if self.counts is not None:
            if not self._taken_over:
                self._taken_over = True
                asyncio.get_running_loop().call_soon(self._take_over, self.server, protocol, most)
            return
        room = self._room(self.server, most)
        for server in self.server.servers:
            for listener in server.sockets:
                listening = socket.socket(fileno=listener.fileno())
                try:
                    self.accept(listening, protocol, room)
                finally:
                    listening.detach()  # it is the loop's, and stays open

    def _take_over(self, server: uvicorn.Server, protocol: Callable[[], asyncio.Protocol], most: int) -> None:
        """Listen in the loop's place, which would accept what is another worker's."""
        assert self.counts is not None
        if self.is_closed:
            return
        replaced = list(server.servers)
        sockets = [socket.fromfd(each.fileno(), each.family, each.type) for one in replaced for each in one.sockets]
        room = partial(self._room, server, most)
        sharing = [_Sharing(self, self.counts, each, protocol, room) for each in sockets]
        server.servers = sharing  # type: ignore[assignment]  # uvicorn closes them, and waits for that
        for one in replaced:
            one.close()

    @staticmethod
    def _room(server: uvicorn.Server, most: int) -> int:
        return most - len(server.server_state.connections) if most else AT_ONCE + 1

    def accept(self, listening: socket.socket, protocol: Callable[[], asyncio.Protocol], most: int) -> bool:
        """Accept connections that wait, up to `most` and AT_ONCE; False if the system has no room for another one."""
        assert self.server is not None
        loop = asyncio.get_running_loop()
        listening.setblocking(False)
        for _ in range(min(most, AT_ONCE)):
            try:
                connection, _ = listening.accept()
            except BlockingIOError:  # nobody waits any more
                break
            except OSError as error:
                return error.errno not in _NO_ROOM  # else the client has left
            connection.setblocking(False)
            opening = loop.connect_accepted_socket(protocol, connection, ssl=self.server.config.ssl)
            task: asyncio.Task[object] = loop.create_task(opening)
            self._opening.add(task)
            task.add_done_callback(self._opened)
        self.count(len(self.server.server_state.connections))
        return True

    def _opened(self, task: asyncio.Task[object]) -> None:
        self._opening.discard(task)
        if self.server is not None:
            self.count(len(self.server.server_state.connections))
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, OSError):  # a client that left, or one that speaks no TLS
            task.get_loop().call_exception_handler({"message": "a connection was not opened", "exception": error})


class _Sharing:
    """A listening socket of several workers, in the place of asyncio's server for it."""

    def __init__(
        self,
        backlog: Backlog,
        counts: ConnectionCounts,
        listening: socket.socket,
        protocol: Callable[[], asyncio.Protocol],
        room: Callable[[], int],
    ) -> None:
        self._backlog, self._counts, self._listening = backlog, counts, listening
        self._protocol, self._room = protocol, room
        self._loop = asyncio.get_running_loop()
        self._pause: asyncio.TimerHandle | None = None
        self._listen()

    @property
    def sockets(self) -> tuple[socket.socket, ...]:
        """As asyncio's server has it."""
        return (self._listening,) if self._listening.fileno() >= 0 else ()

    def close(self) -> None:
        """Accept nothing more."""
        if self._pause is not None:
            self._pause.cancel()
        if self._listening.fileno() >= 0:
            self._loop.remove_reader(self._listening)
            self._listening.close()

    async def wait_closed(self) -> None:
        """Nothing is left to wait for after `close`."""

    def _listen(self) -> None:
        self._loop.add_reader(self._listening, self._ready)

    def _ready(self) -> None:
        """Somebody waits: take this worker's part, or leave it to those with fewer connections for a moment."""
        own, others = self._counts.own, self._counts.others()
        fewest = min(others)
        if own > fewest + fewest // LEAD:
            self._wait(PATIENCE)
            return
        each = math.ceil((own + sum(others) + self._waiting()) / (1 + len(others)))
        self._accept(each - own)

    def _resume(self) -> None:
        """Take a part of what the others have left; they may be slow."""
        self._listen()
        self._accept(math.ceil(self._waiting() / (1 + len(self._counts.others()))))

    def _accept(self, most: int) -> None:
        # One at least, if only to be told that there are too many.
        if not self._backlog.accept(self._listening, self._protocol, max(1, min(most, self._room()))):
            self._wait(NO_ROOM_PAUSE)

    def _wait(self, seconds: float) -> None:
        self._loop.remove_reader(self._listening)
        self._pause = self._loop.call_later(seconds, self._resume)

    def _waiting(self) -> int:
        with suppress(AttributeError, OSError, struct.error):  # another system, or no TCP
            (waiting,) = _BACKLOG.unpack(self._listening.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _BACKLOG.size))
            return int(waiting)
        return AT_ONCE
