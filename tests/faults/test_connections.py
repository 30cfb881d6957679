"""Clients that are slow, endless, oversized or many, against a real uvicorn with the service's protocol."""

import asyncio
import contextlib
import json
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import uvicorn
from ports import free_port
from uvicorn.protocols.http import auto

from gan_client.types import ErrorBody
from gan_serving import overflow
from gan_serving.accept import Backlog
from gan_serving.body import timed_receive
from gan_serving.connection import MAX_PIPELINED, Limits, guarded_protocol, install
from gan_serving.error_response import error_response
from gan_serving.errors import ServiceError
from gan_serving.settings import Settings

HEADER_TIMEOUT = 0.3  # seconds
BODY_TIMEOUT = 0.3
SEND_TIMEOUT = 0.5
MAX_HEADER = 2048  # bytes
MAX_STREAM = 2**20
PATIENCE = 20.0  # seconds, for what must happen
EARLY = 0.05  # seconds by which a timeout may seem early, since its clock starts before the test's
LATE = 2.0  # seconds by which a loaded machine may be late
GOOD = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
LARGE = 64 * 2**20  # bytes: more than the kernel's buffers take


@dataclass
class Server:
    """A uvicorn in a thread of its own."""

    port: int
    refused: list[str] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)  # of the requests that the application saw
    headers: list[list[tuple[bytes, bytes]]] = field(default_factory=list)  # theirs, as uvicorn goes on holding them
    left: list[str] = field(default_factory=list)  # paths of requests to /listening... whose client hung up
    release: threading.Event = field(default_factory=threading.Event)  # ends the requests to /held
    connections: Callable[[], int] = lambda: 0

    @contextlib.contextmanager
    def connect(self, **options: int) -> Iterator[socket.socket]:
        with socket.socket() as client:
            for name, value in options.items():
                client.setsockopt(socket.SOL_SOCKET, getattr(socket, name), value)
            client.settimeout(PATIENCE)
            client.connect(("127.0.0.1", self.port))
            yield client

    def is_well(self) -> bool:
        with self.connect() as client:
            client.sendall(GOOD)
            return answer(client)[0] == 200


async def application(server: Server, scope: Any, receive: Any, send: Any) -> None:
    path = scope["path"]
    server.paths.append(path)
    server.headers.append(scope["headers"])
    size = 2
    if path == "/echo":
        timed = timed_receive(receive, BODY_TIMEOUT)
        size = 0
        try:
            while (message := await timed()).get("more_body"):
                size += len(message["body"])
        except ServiceError as error:
            await error_response(error)(scope, receive, send)
            return
        assert message["type"] == "http.request"
        size += len(message["body"])
    elif path == "/held" or scope["query_string"] == b"held":
        await asyncio.get_running_loop().run_in_executor(None, server.release.wait, PATIENCE)
    elif path.startswith("/listening"):
        while (await receive())["type"] != "http.disconnect":
            pass
        server.left.append(path)
        return
    elif path == "/large":
        size = LARGE
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % size)]})
    await send({"type": "http.response.body", "body": bytes(size)})


@contextlib.contextmanager
def running(backlog: Backlog | None = None, **changes: Any) -> Iterator[Server]:
    server = Server(free_port())
    settings = {"header_timeout": HEADER_TIMEOUT, "send_timeout": SEND_TIMEOUT, "max_header": MAX_HEADER}
    settings |= {"max_stream": MAX_STREAM, "max_connections": 0}
    limits = Limits(**settings | changes, refused=server.refused.append)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await application(server, scope, receive, send)

    config = uvicorn.Config(
        app,
        port=server.port,
        http=guarded_protocol(limits, backlog or Backlog()),
        lifespan="off",
        log_config=None,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=1,
    )
    uvicorn_server = uvicorn.Server(config)
    server.connections = lambda: len(uvicorn_server.server_state.connections)
    thread = threading.Thread(target=uvicorn_server.run)
    thread.start()
    try:
        wait_until(lambda: uvicorn_server.started)
        yield server
    finally:
        server.release.set()
        uvicorn_server.should_exit = True
        thread.join(PATIENCE)
    assert not thread.is_alive()


@pytest.fixture
def server() -> Iterator[Server]:
    with running() as found:
        yield found


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def read_all(client: socket.socket) -> bytes:
    """Everything up to the end of the connection, by whichever side and in whichever way."""
    content = b""
    with contextlib.suppress(ConnectionError):
        while piece := client.recv(65536):
            content += piece
    return content


def answer(client: socket.socket) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of one response."""
    content = b""
    while b"\r\n\r\n" not in content:
        piece = client.recv(65536)
        assert piece, f"the connection ended after {content!r}"
        content += piece
    head, _, body = content.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    while len(body) < int(headers["content-length"]):
        piece = client.recv(65536)
        assert piece
        body += piece
    return int(status.split()[1]), headers, body


def error_of(reply: tuple[int, dict[str, str], bytes]) -> ErrorBody:
    _, headers, body = reply
    assert headers["content-type"] == "application/json"
    assert headers["connection"] == "close"
    error = ErrorBody.model_validate_json(body)
    assert set(json.loads(body)["error"]) == {"code", "message", "param"}
    assert "\n" not in error.error.message
    return error


def drip(client: socket.socket, piece: bytes, pause: float = 0.02) -> float:
    """Send the piece again and again until the server closes or answers; how long that took, in seconds."""
    began = time.monotonic()
    with contextlib.suppress(ConnectionError):
        while not select.select([client], [], [], pause)[0]:
            assert time.monotonic() - began < PATIENCE
            client.sendall(piece)
    return time.monotonic() - began


def flood(client: socket.socket, piece: bytes, most: int) -> int:
    """Send the piece again and again until the server closes or answers; the bytes that it took."""
    sent = 0
    with contextlib.suppress(ConnectionError):
        while sent < most and not select.select([client], [], [], 0)[0]:
            client.sendall(piece)
            sent += len(piece)
    return sent


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
        (b"POST / HTTP/1.1\r\nContent-Length: 1000000\r\n\r\n", b"x"),  # the rest of a body that nobody reads
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
    ],
)
def test_bytes_after_the_response_keep_no_connection_open(server: Server, begin: bytes, more: bytes):
    with server.connect() as client:
        client.sendall(begin)
        assert answer(client)[0] == 200
        client.sendall(more)
        assert drip(client, more) < 3 * HEADER_TIMEOUT + LATE
    assert server.refused == ["header_timeout"]


def header_block(size: int) -> bytes:
    start, end = b"GET / HTTP/1.1\r\nX: ", b"\r\n\r\n"
    return start + b"x" * (size - len(start) - len(end)) + end


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
        client.sendall(b"POST /echo HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(body) + body + GOOD[:-2])
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
    wait_until(lambda: server.connections() == 0)
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
        client.sendall(b"POST /echo HTTP/1.1\r\n" + framing + b"\r\n\r\n")
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
        client.sendall(b"POST /echo HTTP/1.1\r\nContent-Length: 5\r\n\r\n")
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
        client.sendall(f"POST {path} HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n".encode() + begin)
        if path == "/":
            assert answer(client)[0] == 200
        assert flood(client, piece, 20 * MAX_STREAM) < 20 * MAX_STREAM
        assert read_all(client) == b""
    assert server.refused == [code]
    assert sum(map(len, server.headers)) == 1  # transfer-encoding, and no trailer
    assert server.is_well()


def test_trailers_are_no_headers_of_their_request_nor_of_the_next(server: Server):
    trailer = b"X-Late: 1\r\nAuthorization: Bearer x\r\n"
    chunked = b"POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n" + trailer + b"\r\n"
    with server.connect() as client:
        for _ in range(1 + MAX_HEADER // len(trailer)):  # each request has the whole limit
            client.sendall(chunked)
            assert answer(client)[::2] == (200, bytes(5))
        client.sendall(GOOD)
        assert answer(client)[0] == 200
    *later, last = server.headers
    assert all(headers == [(b"transfer-encoding", b"chunked")] for headers in later)
    assert last == [(b"host", b"x")]


def test_pipelined_requests_are_answered_in_order(server: Server):
    with server.connect() as client:
        client.sendall(b"".join(b"POST /echo HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % i + b"x" * i for i in range(20)))
        content = b""
        while content.count(b"HTTP/1.1 200 OK") < 20 or not content.endswith(bytes(19)):
            piece = client.recv(65536)
            assert piece
            content += piece
    lengths = [int(part.split(b"\r\n")[0]) for part in content.split(b"content-length: ")[1:]]
    assert lengths == list(range(20))


def test_more_pipelined_requests_than_can_wait_end_the_connection(server: Server):
    with server.connect() as client:
        client.sendall(b"GET /held HTTP/1.1\r\n\r\n")
        wait_until(lambda: server.paths == ["/held"])
        with contextlib.suppress(ConnectionError):
            client.sendall(b"GET / HTTP/1.1\r\n\r\n" * 10_000)
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
        client.sendall(b"GET /listening HTTP/1.1\r\n\r\n")
        wait_until(lambda: server.paths == ["/", "/listening"])
        client.sendall(b"GET /behind HTTP/1.1\r\n\r\n" * behind)
        if behind > MAX_PIPELINED:
            assert read_all(client) == b""  # cut by the server
    wait_until(lambda: server.left == ["/listening"])
    assert server.is_well()
    assert server.paths == ["/", "/listening", "/"]  # nothing of what waited


def test_a_pipelined_request_whose_turn_has_come_learns_that_its_client_hung_up(server: Server):
    with server.connect() as client:
        client.sendall(b"GET /held HTTP/1.1\r\n\r\nGET /listening1 HTTP/1.1\r\n\r\nGET /listening2 HTTP/1.1\r\n\r\n")
        wait_until(lambda: server.paths == ["/held"])
        server.release.set()
        assert answer(client)[0] == 200
        wait_until(lambda: server.paths == ["/held", "/listening1"])
    wait_until(lambda: server.left == ["/listening1"])


def test_a_long_answer_is_not_cut_for_the_next_requests_headers(server: Server):
    with server.connect() as client:
        client.sendall(b"GET /held HTTP/1.1\r\n\r\nGET / HTTP")
        assert not select.select([client], [], [], 3 * HEADER_TIMEOUT)[0]
        server.release.set()
        assert answer(client)[0] == 200
        assert read_all(client) == b""  # and then it is
    assert server.refused == ["header_timeout"]


def test_junk_behind_a_request_under_way_is_not_answered_into_its_response(server: Server):
    with server.connect() as client:
        client.sendall(b"GET /held HTTP/1.1\r\n\r\n")
        wait_until(lambda: server.paths == ["/held"])
        client.sendall(b"\x00\r\n\r\n")
        assert read_all(client) == b""
    assert server.refused == ["invalid_request"]


@contextlib.contextmanager
def full(**changes: Any) -> Iterator[Server]:
    """A server with the three connections that it takes."""
    with running(max_connections=3, header_timeout=PATIENCE, **changes) as server, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(server.connect()) for _ in range(3)]
        wait_until(lambda: server.connections() == 3)
        yield server
        for client in clients:
            client.sendall(GOOD)
            assert answer(client)[0] == 200
        clients[0].close()
        wait_until(lambda: server.connections() == 2)
        assert server.is_well()


@pytest.mark.parametrize(
    "request_",
    [GOOD, b"POST /livez HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}", b"GET /livezz HTTP/1.1\r\n\r\n" + GOOD],
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
        late.sendall(b"POST /v2/models/x/infer HTTP/1.1\r\nContent-Length: 0\r\n\r\n")
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
        (b"GET /metrics?held HTTP/1.1\r\n\r\n", b""),
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
            wait_until(lambda: server.paths == ["/metrics"] * 4)
        with server.connect() as probe:
            probe.sendall(b"GET /livez HTTP/1.1\r\n\r\n")
            assert answer(probe)[0] == 200
        said = read_all(spare[0])
        assert told in said
        assert bool(told) == bool(said)


def test_a_client_that_takes_nothing_of_its_response_is_cut(server: Server):
    with server.connect(SO_RCVBUF=4096) as client:
        client.sendall(b"GET /large HTTP/1.1\r\nConnection: close\r\n\r\n")
        wait_until(lambda: server.refused == ["send_timeout"])
        assert len(read_all(client)) < LARGE
    wait_until(lambda: server.connections() == 0)


def test_a_client_that_takes_its_response_slowly_gets_all_of_it(server: Server):
    pauses = int(4 * SEND_TIMEOUT / 0.05)
    with server.connect() as client:
        client.sendall(b"GET /large HTTP/1.1\r\nConnection: close\r\n\r\n")
        received, paused = 0, 0
        while piece := client.recv(LARGE // pauses):
            received += len(piece)
            if received > LARGE * paused / pauses:
                paused += 1
                select.select([], [], [], 0.05)
    assert received > LARGE
    assert server.refused == []


def test_websockets_are_not_spoken(server: Server):
    upgrade = b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\nSec-WebSocket-Version: 13\r\n\r\n"
    with server.connect() as client:
        client.sendall(b"GET / HTTP/1.1\r\n" + upgrade)
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
