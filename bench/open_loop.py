"""An open-loop load: requests leave when the clock says so, whether or not earlier ones were answered.

Latency counts from the moment a request was due, so that a server that stalls can't hide it by making the load wait
(coordinated omission). Bare protocols on uvloop: with asyncio's streams the load took more of the cores than the
server did.
"""

import asyncio
import time
from collections import deque
from dataclasses import dataclass, field
from typing import cast

import numpy as np
import uvloop

IDLE_SECONDS = 3.0  # a connection that was idle for longer is not used again: servers close theirs after 5
PATIENCE = 30.0  # seconds for the last answers
_END = b"\r\n\r\n"


@dataclass
class Outcome:
    """What came back."""

    latencies: list[float] = field(default_factory=list)  # seconds of answers with status 200
    statuses: dict[int, int] = field(default_factory=dict)  # status -> answers
    lost: int = 0  # connections that broke before the answer

    def percentile(self, share: float) -> float:
        """Seconds."""
        return float(np.percentile(self.latencies, share)) if self.latencies else float("nan")


def request_of(body: bytes) -> bytes:
    """POST /generate with this body of JSON."""
    lines = (
        "POST /generate HTTP/1.1", "host: bench", "content-type: application/json", f"content-length: {len(body)}",
    )  # fmt: skip
    return "\r\n".join([*lines, "", ""]).encode() + body


class Connection(asyncio.Protocol):
    """One kept-alive connection that asks one thing at a time."""

    def __init__(self, load: "Load") -> None:
        self.load = load
        self.transport: asyncio.Transport | None = None
        self.due: float | None = None  # when the request under way was due; None: idle
        self.used = time.perf_counter()
        self.head = b""  # of the response, until it is whole
        self.left = -1  # bytes of the body that are to come; -1: chunks, whose last one is looked for
        self.tail = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        if self.due is not None:
            self.transport.write(self.load.request)

    def ask(self, due: float) -> None:
        """Send the request, now or as soon as there is a connection."""
        self.due, self.head = due, b""
        if self.transport is not None:
            self.transport.write(self.load.request)

    def data_received(self, data: bytes) -> None:
        """Count the answer when it is whole; then the connection is free for the next request."""
        body = data
        if not self.head.endswith(_END):
            head, end, body = (self.head + data).partition(_END)
            self.head = head + end
            if not end:
                return
            lower = head.lower()
            chunked = b"transfer-encoding: chunked" in lower
            self.left = -1 if chunked else int(lower.partition(b"content-length:")[2].partition(b"\r\n")[0])
            self.tail = b""
        if self.left < 0:
            self.tail = (self.tail + body)[-7:]
            if self.tail == b"\r\n0\r\n\r\n" or self.tail == b"0" + _END:
                self.answered()
        else:
            self.left -= len(body)
            if self.left == 0:
                self.answered()

    def answered(self) -> None:
        """The response is whole."""
        now, due, status = time.perf_counter(), self.due, int(self.head[9:12])
        assert due is not None
        outcome = self.load.outcome
        outcome.statuses[status] = outcome.statuses.get(status, 0) + 1
        if status == 200:
            outcome.latencies.append(now - due)
        self.due, self.used = None, now
        self.load.free(self, again=b"connection: close" not in self.head.lower())

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """A connection that breaks before the answer counts as lost."""
        self.transport = None
        if self.due is not None:
            self.load.outcome.lost += 1
            self.due = None
            self.load.free(self, again=False)


class Load:
    """The requests of one run, over a limited number of connections; those that find none wait, and that counts."""

    def __init__(self, port: int, body: bytes, connections: int) -> None:
        self.request = request_of(body)
        self.outcome = Outcome()
        self._port, self._most = port, connections
        self._room = connections  # that may still be opened
        self._idle: list[Connection] = []
        self._waiting: deque[float] = deque()
        self._opening: set[asyncio.Task[None]] = set()

    def ask(self, due: float) -> None:
        """One request, which was due at that time of the performance counter."""
        now = time.perf_counter()
        while self._idle:
            connection = self._idle.pop()
            if connection.transport is not None and now - connection.used < IDLE_SECONDS:
                connection.ask(due)
                return
            self._close(connection)
        if not self._room:
            self._waiting.append(due)
            return
        self._room -= 1
        connection = Connection(self)
        connection.ask(due)
        task = asyncio.create_task(self._open(connection))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    def free(self, connection: Connection, *, again: bool) -> None:
        """A connection has nothing to do any more."""
        if again:
            self._idle.append(connection)
        else:
            self._close(connection)
        if self._waiting:
            self.ask(self._waiting.popleft())

    @property
    def busy(self) -> bool:
        """Whether answers are still to come."""
        return bool(self._waiting) or self._most - self._room > len(self._idle)

    def close(self) -> None:
        """Close what is idle."""
        while self._idle:
            self._close(self._idle.pop())

    def _close(self, connection: Connection) -> None:
        self._room += 1
        if connection.transport is not None:
            connection.transport.close()

    async def _open(self, connection: Connection) -> None:
        try:
            await asyncio.get_running_loop().create_connection(lambda: connection, "127.0.0.1", self._port)
        except OSError:
            connection.connection_lost(None)


async def _drive(load: Load, rate: float, seconds: float) -> None:
    began = time.perf_counter()
    for i in range(int(rate * seconds)):
        due = began + i / rate
        if (wait := due - time.perf_counter()) > 0:
            await asyncio.sleep(wait)
        elif i % 64 == 0:
            await asyncio.sleep(0)  # the load is late: answers are read all the same
        load.ask(due)
    end = time.perf_counter() + PATIENCE
    while load.busy and time.perf_counter() < end:
        await asyncio.sleep(0.01)
    load.close()


def open_loop(port: int, body: bytes, rate: float, seconds: float, connections: int = 256) -> Outcome:
    """Ask `rate` times a second for `seconds`, over at most `connections` kept-alive connections.

    Args:
        port: of 127.0.0.1.
        body: of POST /generate.
        rate: requests per second, evenly spaced.
        seconds: how long.
        connections: how many requests may be under way; more wait, and their waiting counts.
    """
    load = Load(port, body, connections)
    uvloop.run(_drive(load, rate, seconds))
    return load.outcome
