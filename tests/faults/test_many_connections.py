"""More connections than the service takes: who is refused, who is answered all the same, and how."""

import contextlib
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from guarded_uvicorn import (
    EARLY,
    GOOD,
    LATE,
    PATIENCE,
    Server,
    answer,
    error_of,
    read_all,
    running,
)
from waiting import until

from gan_serving.connections import overflow


@contextlib.contextmanager
def full(**changes: Any) -> Iterator[Server]:
    """A server with the three connections that it takes."""
    with running(max_connections=3, header_timeout=PATIENCE, **changes) as server, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(server.connect()) for _ in range(3)]
        until(lambda: server.connections() == 3, "connections are open")
        yield server
        for client in clients:
            client.sendall(GOOD)
            assert answer(client)[0] == 200
        clients[0].close()
        until(lambda: server.connections() == 2, "connections are closed")
        assert server.is_well()


@pytest.mark.parametrize(
    "request_",
    [
        GOOD,
        b"POST /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}",
        b"GET /livezz HTTP/1.1\r\nHost: x\r\n\r\n" + GOOD,
    ],
    ids=["other path", "other method", "two"],
)
def test_the_newest_of_too_many_connections_is_refused(request_: bytes):
    with full() as server:
        for _ in range(5):
            with server.connect() as late:
                late.sendall(request_)
                reply = answer(late)
                assert reply[0] == 503
                assert reply[1]["retry-after"] == "1"
                assert error_of(reply).error.code == "too_many_connections"
                assert read_all(late) == b""
        assert server.paths == []
        assert set(server.refused) == {"too_many_connections"}


def test_a_connection_too_many_is_refused_in_the_protocols_shape_under_v2():
    with full() as server, server.connect() as late:
        late.sendall(b"POST /v2/models/x/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
        assert json.loads(answer(late)[2])["code"] == "too_many_connections"


def test_probes_and_scrapes_are_answered_once_beside_too_many_connections():
    targets = [b"/livez", b"/readyz", b"/v2/health/live", b"/metrics", b"/metrics?name=x"]
    with full() as server:
        for line in [method + b" " + target for method in (b"GET", b"HEAD") for target in targets]:
            with server.connect() as probe:
                probe.sendall(line + b" HTTP/1.1\r\nHost: x\r\n\r\n")
                assert read_all(probe).startswith(b"HTTP/1.1 200 "), "a restart would be the answer to no"
        assert server.refused == []


def test_a_connection_too_many_that_says_nothing_is_refused_soon():
    with full() as server:
        began = time.monotonic()
        with server.connect() as late:
            late.sendall(b"GET /livez HTTP/1.1\r\nX")
            assert error_of(answer(late)).error.code == "too_many_connections"
        assert overflow.SECONDS - EARLY < time.monotonic() - began < overflow.SECONDS + LATE
        assert server.refused == ["too_many_connections"]


@pytest.mark.parametrize(
    ("begin", "told"),
    [
        (b"", b"too_many_connections"),
        (b"\x00\r\n\r\n", b"invalid_request"),
        (b"GET /metrics?held HTTP/1.1\r\nHost: x\r\n\r\n", b""),
    ],
    ids=["silent", "refused", "under way"],
)
def test_of_many_connections_too_many_the_oldest_makes_room_for_a_probe(
    monkeypatch: pytest.MonkeyPatch, begin: bytes, told: bytes
):
    monkeypatch.setattr(overflow, "MOST", 4)
    with full() as server, contextlib.ExitStack() as stack:
        spare = [stack.enter_context(server.connect()) for _ in range(4)]
        for client in spare:
            client.sendall(begin)
        if not told:
            until(lambda: server.paths == ["/metrics"] * 4, "the application has the requests")
        with server.connect() as probe:
            probe.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
            assert answer(probe)[0] == 200
        said = read_all(spare[0])
        assert told in said
        assert bool(told) == bool(said)
