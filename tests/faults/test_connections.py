"""Clients that are slow, endless or oversized, against a real uvicorn with the service's protocol."""

import contextlib
import json
import select
import socket
import time

import pytest
import uvicorn
from guarded_uvicorn import (
    BODY_TIMEOUT,
    EARLY,
    GOOD,
    HEADER_TIMEOUT,
    LARGE,
    LATE,
    MAX_HEADER,
    MAX_STREAM,
    PARTS,
    SEND_TIMEOUT,
    Server,
    answer,
    drip,
    error_of,
    flood,
    header_block,
    read_all,
    running,
)
from uvicorn.protocols.http import auto
from waiting import until

from gan_serving.connections.accept import Backlog
from gan_serving.connections.connection import install
from gan_serving.settings import Settings


@pytest.mark.parametrize("begin", [b"", b"\r\n", b"GE", b"GET / HTTP/1.1\r\nHost: x\r\n"])
def test_a_request_that_stops_halfway_is_closed_after_the_timeout(server: Server, begin: bytes):
    began = time.monotonic()
    with server.connect() as client:
        client.sendall(begin)
        assert read_all(client) == b""
    assert HEADER_TIMEOUT - EARLY < time.monotonic() - began < HEADER_TIMEOUT + LATE
    assert server.refused == ["header_timeout"]
    assert server.paths == []


@pytest.mark.parametrize("begin", [b"", b"GET /", b"GET / HTTP/1.1\r\nX: ", b"GET / HTTP/1.1\r\n"])
def test_a_byte_at_a_time_gains_no_time(server: Server, begin: bytes):
    with server.connect() as client:
        client.sendall(begin)
        took = drip(client, b"\r\n" if begin == b"" else b"x")
    assert HEADER_TIMEOUT - EARLY < took < HEADER_TIMEOUT + LATE
    assert server.is_well()


def test_a_later_request_has_its_own_time(server: Server):
    with server.connect() as client:
        for _ in range(3):
            client.sendall(GOOD)
            assert answer(client)[0] == 200
            assert not select.select([client], [], [], HEADER_TIMEOUT)[0], "closed while it waited for a request"
        client.sendall(b"GET / HTTP/1.1\r\n")
        took = drip(client, b"x")
    assert HEADER_TIMEOUT - EARLY < took < HEADER_TIMEOUT + LATE


@pytest.mark.parametrize(
    ("begin", "more"),
    [
        (GOOD, b"\r\n"),  # between requests, and no beginning of one
        (
            b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n",
            b"x",
        ),  # the rest of a body that nobody reads
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
    ],
)
def test_bytes_after_the_response_keep_no_connection_open(server: Server, begin: bytes, more: bytes):
    with server.connect() as client:
        client.sendall(begin)
        assert answer(client)[0] == 200
        client.sendall(more)
        assert drip(client, more) < 3 * HEADER_TIMEOUT + LATE
    assert server.refused == ["header_timeout"]


@pytest.mark.parametrize("pieces", [1, 2, 50])
@pytest.mark.parametrize("first", [True, False])
def test_headers_up_to_the_limit_pass_and_not_one_byte_more(server: Server, first: bool, pieces: int):
    for size, status in ((MAX_HEADER, 200), (MAX_HEADER + 1, 431)):
        with server.connect() as client:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if not first:
                client.sendall(GOOD)
                assert answer(client)[0] == 200
            block = header_block(size)
            step = -(-size // pieces)
            for start in range(0, size, step):
                client.sendall(block[start : start + step])
            reply = answer(client)
            assert reply[0] == status
            if status == 431:
                error = error_of(reply).error
                assert error.code == "headers_too_large"
                assert str(MAX_HEADER) in error.message
                assert read_all(client) == b""
    assert server.refused == ["headers_too_large"]


@pytest.mark.parametrize(
    "block",
    [
        b"GET /" + b"x" * 500_000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"".join(b"X-%d: y\r\n" % i for i in range(50_000)) + b"\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"x" * 500_000,
        b"GET / HTTP/1.1\r\n" + b"x" * 500_000,
        b"\r\n" * 250_000,
    ],
    ids=["url", "many", "endless value", "endless name", "line ends"],
)
def test_headers_of_any_kind_are_limited_and_the_answer_arrives(server: Server, block: bytes):
    with server.connect() as client:
        with contextlib.suppress(ConnectionError):
            client.sendall(block)
        reply = answer(client)
        assert reply[0] == 431
        assert error_of(reply).error.code == "headers_too_large"
    assert server.paths == []
    assert server.is_well()


@pytest.mark.parametrize("complete", [True, False])
@pytest.mark.parametrize("url", [b"/v2", b"/v2/models/x/infer?y=1"])
def test_errors_before_the_guard_have_the_protocols_shape_under_v2(server: Server, url: bytes, complete: bool):
    block = b"GET " + url + b" HTTP/1.1\r\nX: " + b"x" * 2 * MAX_HEADER
    with server.connect() as client:
        client.sendall(block + (b"\r\n\r\n" if complete else b""))
        reply = answer(client)
    assert reply[0] == 431
    said = json.loads(reply[2])
    assert str(MAX_HEADER) in said["error"]
    assert (said["code"], said["param"]) == ("headers_too_large", None)
    assert said["request_id"] == reply[1]["x-request-id"]
    with server.connect() as client:
        client.sendall(b"GET /v20 HTTP/1.1\r\nX: " + b"x" * 2 * MAX_HEADER)
        assert error_of(answer(client)).error.code == "headers_too_large"  # no path of the protocol


def test_a_large_body_in_one_piece_with_its_headers_is_no_large_header(server: Server):
    with server.connect() as client:
        body = b"x" * 100_000
        client.sendall(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body + GOOD[:-2])
        assert len(answer(client)[2]) == len(body)
        client.sendall(b"\r\n")
        assert answer(client)[0] == 200
    assert server.refused == []


@pytest.mark.parametrize("junk", [b"\x00\x01\x02\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\x16\x03\x01\x02\x00" * 40])
def test_what_is_no_http_gets_an_error_in_our_shape(server: Server, junk: bytes):
    with server.connect() as client:
        client.sendall(junk)
        reply = answer(client)
        assert reply[0] == 400
        assert error_of(reply).error.code == "invalid_request"
        assert read_all(client) == b""
    assert server.refused == ["invalid_request"]


def test_idle_connections_are_in_nobodys_way(server: Server):
    with contextlib.ExitStack() as stack:
        idle = [stack.enter_context(server.connect()) for _ in range(200)]
        for client in idle[::2]:
            client.sendall(b"GET / HTTP/1.1\r\nX")
        began = time.monotonic()
        assert server.is_well()
        assert time.monotonic() - began < LATE
        assert all(read_all(client) == b"" for client in idle)
    until(lambda: server.connections() == 0, "connections are closed")
    assert server.refused == ["header_timeout"] * 200


@pytest.mark.parametrize(
    ("framing", "piece"),
    [
        (b"Content-Length: 1000000", b"x"),
        (b"Content-Length: 1000000", b""),
        (b"Transfer-Encoding: chunked", b"1\r\nx\r\n"),
        (b"Transfer-Encoding: chunked", b"0"),
        (b"Transfer-Encoding: chunked\r\nExpect: 100-continue", b""),
    ],
)
def test_a_body_without_end_is_a_408(server: Server, framing: bytes, piece: bytes):
    with server.connect() as client:
        client.sendall(b"POST /echo HTTP/1.1\r\nHost: x\r\n" + framing + b"\r\n\r\n")
        if b"100-continue" in framing:
            assert client.recv(25) == b"HTTP/1.1 100 Continue\r\n\r\n"
        took = drip(client, piece)
        assert BODY_TIMEOUT - EARLY < took < BODY_TIMEOUT + LATE
        reply = answer(client)
        assert reply[0] == 408
        assert error_of(reply).error.code == "body_timeout"
        assert read_all(client) == b""
    assert server.is_well()


def test_a_body_in_pieces_within_its_time_is_complete(server: Server):
    with server.connect() as client:
        client.sendall(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n")
        for _ in range(5):
            assert not select.select([client], [], [], BODY_TIMEOUT / 20)[0]
            client.sendall(b"x")
        assert answer(client)[::2] == (200, bytes(5))


@pytest.mark.parametrize(
    ("path", "begin", "piece", "code"),
    [
        ("/echo", b"", b"1;" + b"x" * 9000 + b"\r\nx\r\n", "stream_too_large"),  # extensions of chunks
        ("/echo", b"0\r\n", b"X:\r\n" * 2000, "trailers_too_large"),
        ("/", b"0\r\n", b"X:\r\n" * 2000, "trailers_too_large"),  # after the response
        ("/echo", b"0\r\nX: ", b"x" * 9000, "stream_too_large"),
        ("/", b"", b"2000\r\n" + b"x" * 8192 + b"\r\n", "stream_too_large"),  # after the response
    ],
    ids=["extensions", "trailers", "unread trailers", "one trailer", "unread"],
)
def test_framing_and_unread_bodies_are_limited_in_bytes(
    server: Server, path: str, begin: bytes, piece: bytes, code: str
):
    with server.connect(SO_SNDBUF=4096) as client:
        client.sendall(f"POST {path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode() + begin)
        if path == "/":
            assert answer(client)[0] == 200
        assert flood(client, piece, 20 * MAX_STREAM) < 20 * MAX_STREAM
        assert read_all(client) == b""
    assert server.refused == [code]
    assert sum(map(len, server.headers)) == 2  # host and transfer-encoding, and no trailer
    assert server.is_well()


def test_a_client_that_takes_nothing_of_its_response_is_cut(server: Server):
    with server.connect(SO_RCVBUF=4096) as client:
        client.sendall(b"GET /large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        until(lambda: server.refused == ["send_timeout"], "it is refused")
        assert len(read_all(client)) < LARGE
    until(lambda: server.connections() == 0, "connections are closed")


def test_a_client_that_takes_its_response_slowly_gets_all_of_it(server: Server):
    pauses = int(4 * SEND_TIMEOUT / 0.05)
    with server.connect() as client:
        client.sendall(b"GET /large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        received, paused = 0, 0
        while piece := client.recv(LARGE // pauses):
            received += len(piece)
            if received > LARGE * paused / pauses:
                paused += 1
                select.select([], [], [], 0.05)
    assert received > LARGE
    assert server.refused == []


@pytest.mark.parametrize("headers", [b"", b"Content-Length: 0\r\nConnection: keep-alive\r\nExpect: 100-continue\r\n"])
def test_a_response_of_unknown_length_to_http_1_0_has_no_chunks_and_ends_with_the_connection(
    server: Server, headers: bytes
):
    with server.connect() as client:
        client.sendall(b"POST /parts HTTP/1.0\r\n" + headers + b"\r\n")
        head, _, body = read_all(client).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert b"transfer-encoding" not in head
    assert body == b"".join(PARTS)
    assert server.refused == []


def test_a_response_of_known_length_to_http_1_0_has_it(server: Server):
    with server.connect() as client:
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert answer(client)[1]["content-length"] == "2"
        assert read_all(client) == b""


def test_websockets_are_not_spoken(server: Server):
    upgrade = b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\nSec-WebSocket-Version: 13\r\n\r\n"
    with server.connect() as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n" + upgrade)
        assert answer(client)[0] == 200
    assert server.paths == ["/"]


@pytest.mark.parametrize("stopping", [False, True])
def test_a_connection_that_uvicorn_did_not_know_when_it_stopped_is_closed_after_its_request(stopping: bool):
    backlog = Backlog()
    backlog.server = uvicorn.Server(uvicorn.Config(lambda: None, log_config=None))  # another: this one isn't told
    backlog.server.servers = []
    backlog.server.should_exit = stopping
    with running(backlog) as server, server.connect() as client:
        client.sendall(GOOD)
        assert answer(client)[0] == 200
        if stopping:
            assert read_all(client) == b""
        else:
            client.sendall(GOOD)
            assert answer(client)[0] == 200


def test_install_chooses_the_protocol_of_later_servers(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(auto, "AutoHTTPProtocol", auto.AutoHTTPProtocol)
    before = uvicorn.Config(lambda: None, log_config=None)
    before.load()
    settings = Settings(header_timeout=7, max_header=5000, max_body=10_000, max_connections=9, send_timeout=8)
    install(settings, Backlog())
    config = uvicorn.Config(lambda: None, log_config=None)
    config.load()
    limits = config.http_protocol_class.limits
    assert (limits.header_timeout, limits.max_header, limits.max_connections, limits.send_timeout) == (7, 5000, 9, 8)
    assert limits.max_stream > 2 * 10_000
    assert not hasattr(before.http_protocol_class, "limits")
