"""Requests behind requests on one connection, and clients that hang up in between."""

import contextlib
import select

import pytest
from guarded_uvicorn import (
    GOOD,
    HEADER_TIMEOUT,
    MAX_HEADER,
    Server,
    answer,
    read_all,
)
from waiting import until

from gan_serving.connections.connection import MAX_PIPELINED


def test_trailers_are_no_headers_of_their_request_nor_of_the_next(server: Server):
    trailer = b"X-Late: 1\r\nAuthorization: Bearer x\r\n"
    chunked = (
        b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n" + trailer + b"\r\n"
    )
    with server.connect() as client:
        for _ in range(1 + MAX_HEADER // len(trailer)):  # each request has the whole limit
            client.sendall(chunked)
            assert answer(client)[::2] == (200, bytes(5))
        client.sendall(GOOD)
        assert answer(client)[0] == 200
    *later, last = server.headers
    host = (b"host", b"x")
    assert all(headers == [host, (b"transfer-encoding", b"chunked")] for headers in later)
    assert last == [host]


def test_pipelined_requests_are_answered_in_order(server: Server):
    with server.connect() as client:
        client.sendall(
            b"".join(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % i + b"x" * i for i in range(20))
        )
        content = b""
        while content.count(b"HTTP/1.1 200 OK") < 20 or not content.endswith(bytes(19)):
            piece = client.recv(65536)
            assert piece
            content += piece
    lengths = [int(part.split(b"\r\n")[0]) for part in content.split(b"content-length: ")[1:]]
    assert lengths == list(range(20))


def test_more_pipelined_requests_than_can_wait_end_the_connection(server: Server):
    with server.connect() as client:
        client.sendall(b"GET /held HTTP/1.1\r\nHost: x\r\n\r\n")
        until(lambda: server.paths == ["/held"], "the application has the requests")
        with contextlib.suppress(ConnectionError):
            client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 10_000)
        assert read_all(client) == b""
    assert server.refused == ["pipelined"]
    assert len(server.paths) <= MAX_PIPELINED + 1
    server.release.set()
    assert server.is_well()


@pytest.mark.parametrize("behind", [1, MAX_PIPELINED // 2, MAX_PIPELINED + 1])
def test_a_client_that_hangs_up_is_gone_for_the_request_under_way_too(server: Server, behind: int):
    with server.connect() as client:
        client.sendall(GOOD)
        assert answer(client)[0] == 200
        client.sendall(b"GET /listening HTTP/1.1\r\nHost: x\r\n\r\n")
        until(lambda: server.paths == ["/", "/listening"], "the application has the requests")
        client.sendall(b"GET /behind HTTP/1.1\r\nHost: x\r\n\r\n" * behind)
        if behind > MAX_PIPELINED:
            assert read_all(client) == b""  # cut by the server
    until(lambda: server.left == ["/listening"], "the request learns of it")
    assert server.is_well()
    assert server.paths == ["/", "/listening", "/"]  # nothing of what waited


def test_a_pipelined_request_whose_turn_has_come_learns_that_its_client_hung_up(server: Server):
    with server.connect() as client:
        targets = [b"/held", b"/listening1", b"/listening2"]
        client.sendall(b"".join(b"GET " + target + b" HTTP/1.1\r\nHost: x\r\n\r\n" for target in targets))
        until(lambda: server.paths == ["/held"], "the application has the requests")
        server.release.set()
        assert answer(client)[0] == 200
        until(lambda: server.paths == ["/held", "/listening1"], "the application has the requests")
    until(lambda: server.left == ["/listening1"], "the request learns of it")


def test_a_long_answer_is_not_cut_for_the_next_requests_headers(server: Server):
    with server.connect() as client:
        client.sendall(b"GET /held HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP")
        assert not select.select([client], [], [], 3 * HEADER_TIMEOUT)[0]
        server.release.set()
        assert answer(client)[0] == 200
        assert read_all(client) == b""  # and then it is
    assert server.refused == ["header_timeout"]


def test_junk_behind_a_request_under_way_is_not_answered_into_its_response(server: Server):
    with server.connect() as client:
        client.sendall(b"GET /held HTTP/1.1\r\nHost: x\r\n\r\n")
        until(lambda: server.paths == ["/held"], "the application has the requests")
        client.sendall(b"\x00\r\n\r\n")
        assert read_all(client) == b""
    assert server.refused == ["invalid_request"]
