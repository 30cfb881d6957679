"""The head of a response and the first piece of its body leave together, and nothing is held back for long."""

import asyncio
from collections.abc import Callable

import pytest

from gan_serving.connections.coalescing import CoalescingTransport

HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Transport:
    """Notes every call of the system."""

    def __init__(self) -> None:
        self.calls: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.calls.append(data)

    def close(self) -> None:
        self.calls.append(b"closed")

    def is_closing(self) -> bool:
        return b"closed" in self.calls


@pytest.mark.parametrize(
    ("writes", "at_once"),
    [
        ([HEAD, b"body"], [HEAD + b"body"]),
        ([HEAD, b"one", b"two"], [HEAD + b"one", b"two"]),
        ([HEAD, b"", b"HTTP/1.1 100 "], [HEAD, b"HTTP/1.1 100 "]),
        ([CONTINUE, HEAD, b"body"], [CONTINUE, HEAD + b"body"]),
        ([HEAD], []),  # of HEAD, or of a stream whose first piece is not ready
    ],
)
def test_what_is_written(writes: list[bytes], at_once: list[bytes]):
    def work(transport: Transport, joined: CoalescingTransport) -> None:
        for data in writes:
            joined.write(data)
        assert transport.calls == at_once

    assert b"".join(drive(work)) == b"".join(writes)


def test_closing_sends_what_is_held():
    def work(transport: Transport, joined: CoalescingTransport) -> None:
        joined.write(HEAD)
        joined.close()
        assert joined.is_closing()
        assert transport.calls == [HEAD, b"closed"]

    assert drive(work) == [HEAD, b"closed"]


def drive(work: Callable[[Transport, CoalescingTransport], None]) -> list[bytes]:
    """All calls until the turn of the event loop is over."""
    transport = Transport()

    async def turn() -> None:
        work(transport, CoalescingTransport(transport, asyncio.get_running_loop()))  # type: ignore[arg-type]
        await asyncio.sleep(0)

    asyncio.run(turn())
    return transport.calls
