"""An open-loop load: requests leave when the clock says so, whether or not earlier ones were answered.

Latency counts from the moment a request was due, so that a server that stalls can't hide it by making the load wait
(coordinated omission).
"""

import asyncio
import time
from dataclasses import dataclass, field

import numpy as np

IDLE_SECONDS = 3.0  # a connection that was idle for longer is not used again: servers close theirs after 5
Pair = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass
class Outcome:
    """What came back."""

    latencies: list[float] = field(default_factory=list)  # seconds of answers with status 200
    statuses: dict[int, int] = field(default_factory=dict)  # status -> answers
    lost: int = 0  # connections that broke before the answer

    def percentile(self, share: float) -> float:
        """Seconds."""
        return float(np.percentile(self.latencies, share)) if self.latencies else float("nan")


async def read_body(reader: asyncio.StreamReader, headers: bytes) -> None:
    """To the end of the response; `headers` are in lower case."""
    if b"transfer-encoding: chunked" in headers:
        size = -1
        while size:
            size = int(await reader.readuntil(b"\r\n"), 16)
            await reader.readexactly(size + 2)
    else:
        await reader.readexactly(int(headers.partition(b"content-length:")[2].partition(b"\r\n")[0]))


async def open_loop(port: int, body: bytes, rate: float, seconds: float, connections: int = 256) -> Outcome:
    """Ask `rate` times a second for `seconds`, over at most `connections` kept-alive connections.

    Args:
        port: of 127.0.0.1.
        body: of POST /generate.
        rate: requests per second, evenly spaced.
        seconds: how long.
        connections: how many requests may be under way; more wait, and their waiting counts.
    """
    outcome = Outcome()
    idle: asyncio.LifoQueue[tuple[Pair | None, float]] = asyncio.LifoQueue()  # with the time of its last answer
    for _ in range(connections):
        idle.put_nowait((None, 0.0))
    lines = ("POST /generate HTTP/1.1", "host: bench", "content-type: application/json", f"content-length: {len(body)}")
    request = "\r\n".join([*lines, "", ""]).encode() + body

    async def ask(due: float) -> None:
        pair, used = await idle.get()
        if pair is not None and time.perf_counter() - used > IDLE_SECONDS:
            pair[1].close()
            pair = None
        try:
            if pair is None:
                pair = await asyncio.open_connection("127.0.0.1", port)
            reader, writer = pair
            writer.write(request)
            headers = await reader.readuntil(b"\r\n\r\n")
            status = int(headers[9:12])
            lower = headers.lower()
            await read_body(reader, lower)
            outcome.statuses[status] = outcome.statuses.get(status, 0) + 1
            if status == 200:
                outcome.latencies.append(time.perf_counter() - due)
            if b"connection: close" in lower:
                writer.close()
                pair = None
        except (OSError, asyncio.IncompleteReadError):
            outcome.lost += 1
            pair = None
        finally:
            idle.put_nowait((pair, time.perf_counter()))

    tasks: set[asyncio.Task[None]] = set()
    began = time.perf_counter()
    for i in range(int(rate * seconds)):
        due = began + i / rate
        if (wait := due - time.perf_counter()) > 0:
            await asyncio.sleep(wait)
        task = asyncio.create_task(ask(due))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    if tasks:
        await asyncio.wait(tasks, timeout=30)
    while not idle.empty():
        if (pair := idle.get_nowait()[0]) is not None:
            pair[1].close()
    return outcome
