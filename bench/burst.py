"""A burst of new connections while others keep the server busy: how long until each is answered."""

import asyncio
import sys
import time

import uvloop
from open_loop import request_of

CONNECTIONS = 200
PATIENCE = 30.0  # seconds
_GOOD = b"HTTP/1.1 200"


async def _first_byte(port: int, request: bytes) -> float:
    """Seconds from the opening of a connection to the beginning of an answer with status 200."""
    began = time.perf_counter()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    beginning = await asyncio.wait_for(reader.readexactly(len(_GOOD)), PATIENCE)
    took = time.perf_counter() - began
    writer.close()
    if beginning != _GOOD:
        sys.exit(f"bench/burst.py: the server answered {beginning!r}")
    return took


async def _burst(port: int, request: bytes) -> list[float]:
    return await asyncio.gather(*(_first_byte(port, request) for _ in range(CONNECTIONS)))


def bursts(port: int, body: bytes, times: int = 3, pause: float = 0.5) -> list[float]:
    """Open CONNECTIONS connections at once, so many times, each with a request.

    Args:
        port: of 127.0.0.1.
        body: of POST /generate.
        times: how many bursts.
        pause: seconds before each.

    Returns:
        Seconds until the last answer of each burst began.
    """
    found = []
    for _ in range(times):
        time.sleep(pause)
        found.append(max(uvloop.run(_burst(port, request_of(body)))))
    return found
