"""A real uvicorn with the service's protocol, and raw sockets to it."""

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

import uvicorn
from ports import free_port
from waiting import until

from gan_client.types import ErrorBody
from gan_serving.connections.accept import Backlog
from gan_serving.connections.connection import Limits, guarded_protocol
from gan_serving.errors import ServiceError
from gan_serving.middleware.body import timed_receive
from gan_serving.middleware.error_response import error_response

HEADER_TIMEOUT = 0.3  # seconds
BODY_TIMEOUT = 0.3
SEND_TIMEOUT = 0.5
MAX_HEADER = 2048  # bytes
MAX_STREAM = 2**20
PATIENCE = 20.0  # seconds, for what must happen
EARLY = 0.05  # seconds by which a timeout may seem early, since its clock starts before the test's
LATE = 2.0  # seconds by which a loaded machine may be late
GOOD = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
PARTS = (b"some of it", b"", b"the rest")
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
    elif path == "/parts":
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for part in PARTS:
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body"})
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
        until(lambda: uvicorn_server.started, "uvicorn starts")
        yield server
    finally:
        server.release.set()
        uvicorn_server.should_exit = True
        thread.join(PATIENCE)
    assert not thread.is_alive()


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


def header_block(size: int) -> bytes:
    start, end = b"GET / HTTP/1.1\r\nHost: x\r\nX: ", b"\r\n\r\n"
    return start + b"x" * (size - len(start) - len(end)) + end
