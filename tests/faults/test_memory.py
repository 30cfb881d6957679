"""What clients leave behind takes no memory, without a full collection, which is rare while serving."""

import gc
import socket
import struct
from collections.abc import Iterator

import psutil
import pytest
from asking import connect, request_bytes
from guarded_uvicorn import Server, answer
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle
from waiting import until

from gan_serving.connections.connection import GuardedProtocol

BODY = bytes(50_000)
UNREAD = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY
ANSWERED = 3000  # requests; each took 5 to 13 KiB for a minute, for the timer of BentoML
ROOM_MIB = 4.0
SOON = 3.0  # seconds; less than uvicorn leaves an idle connection
RESET = struct.pack("ii", 1, 0)  # of SO_LINGER: close at once, and tell the peer so


@pytest.fixture
def _no_collections() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def alive(*kinds: type) -> list[object]:
    return [one for one in gc.get_objects() if issubclass(type(one), kinds)]  # isinstance asks lazy modules


@pytest.mark.usefixtures("_no_collections")
@pytest.mark.parametrize("is_reset", [False, True])
def test_a_connection_that_is_closed_leaves_nothing(server: Server, is_reset: bool):
    with server.connect() as client:
        client.sendall(UNREAD)
        assert answer(client)[0] == 200
        if is_reset:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    until(lambda: not alive(GuardedProtocol, RequestResponseCycle), "the connection is gone", seconds=SOON)


@pytest.mark.slow
def test_what_is_answered_by_bentoml_is_not_kept(trapped) -> None:
    (worker,) = map(psutil.Process, trapped.workers())
    line = request_bytes({}, path="/livez", method="GET")

    def ask(times: int) -> None:
        with connect(trapped) as client, client.makefile("rb") as answers:
            for _ in range(times):
                client.sendall(line)
                while (read := answers.readline()) != b"\r\n":
                    assert read, "the connection ended"
                answers.read(1)

    ask(200)
    before = worker.memory_info().rss
    ask(ANSWERED)
    assert (worker.memory_info().rss - before) / 2**20 < ROOM_MIB
