"""The least that a server's latency can be here: it keeps a core busy for so long for each request, and answers.

    BENCH_BUSY=0.00016 python -m peers.busy_wait PORT

No HTTP library, no generator, no second thread: what its p99 is above its median is the machine's and the load's.
"""

import asyncio
import os
import sys
import time
from typing import cast

import uvloop

_END = b"\r\n\r\n"
_ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 2\r\n\r\nok"


class BusyWait(asyncio.Protocol):
    """Requests of one connection: a head with Content-Length, and a body of that length."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.transport: asyncio.Transport | None = None
        self.received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Be busy for each request that is whole, and answer it."""
        assert self.transport is not None
        self.received += data
        while _END in self.received:
            head, _, rest = self.received.partition(_END)
            length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
            if len(rest) < length:
                return
            self.received = rest[length:]
            end = time.perf_counter() + self.seconds
            while time.perf_counter() < end:
                pass
            self.transport.write(_ANSWER)


async def main() -> None:
    seconds, loop = float(os.environ["BENCH_BUSY"]), asyncio.get_running_loop()
    server = await loop.create_server(lambda: BusyWait(seconds), "127.0.0.1", int(sys.argv[1]), backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
