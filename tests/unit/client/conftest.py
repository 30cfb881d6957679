"""A service that follows the wire contract over real HTTP, and can be told to misbehave first."""

import base64
import hashlib
import io
import json
import socket
import sys
import threading
import zipfile
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from PIL import Image

from gan_client import GanClient, program
from gan_client.types import GeneratedImage, GenerateRequest, GenerateResponse, ModelInfo, ModelList

SIZE = (6, 4)  # height, width


class Act(Enum):
    """What a connection does instead of answering."""

    DROP = "closes without an answer"
    HOLD = "never answers"
    TRICKLE = "sends its answer a byte at a time, without end"
    LATE = "sends its headers after 1.6 s and then nothing"
    NOT_HTTP = "speaks another protocol"
    CUT = "closes in the middle of the answer"
    CONTRACT = "answers after all, as the contract says"


@dataclass
class Reply:
    """An answer that replaces the contract's."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Received:
    """A request as it came over the wire."""

    path: str
    headers: Mapping[str, str]
    body: dict


class Service:
    """`script` holds what the next requests get; when it is empty, requests get what the contract says."""

    def __init__(self) -> None:
        self.script: deque[Reply | Act] = deque()
        self.received: list[Received] = []
        self.got_request = threading.Event()
        self.client_left = threading.Event()
        self.closing = threading.Event()
        self.class_names: list[str] | None = [str(digit) for digit in range(10)]
        self.channels = 1
        self.api_key: str | None = None
        self.artifact: str | None = "a" * 64
        handler = type("Handler", (_Handler,), {"service": self})
        self._server = _Server(("127.0.0.1", 0), handler)
        self._server.daemon_threads = False  # closing waits for every connection
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self.closing.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def png(self, seed: int | None, label: int | None) -> bytes:
        """The one image of a seed and label: noise, so that no two are alike."""
        count = SIZE[0] * SIZE[1] * self.channels
        pixels = hashlib.shake_128(f"{seed} {label}".encode()).digest(count)
        image = Image.frombytes("L" if self.channels == 1 else "RGB", (SIZE[1], SIZE[0]), pixels)
        buffer = io.BytesIO()
        image.save(buffer, format="PNG")
        return buffer.getvalue()

    def draw(self, request: GenerateRequest) -> tuple[GenerateResponse, list[bytes]]:
        count = request.n or 1
        if request.latents is not None:
            seeds: list[int | None] = [None] * count
        elif request.seeds is not None:
            seeds = list(request.seeds)
        else:
            seeds = [(request.seed or 0) + i for i in range(count)]
        images, pngs = [], []
        for i, seed in enumerate(seeds):
            wanted = request.label[i] if isinstance(request.label, list) else request.label
            label, name = None, None
            if self.class_names is not None:
                wanted = (seed or 0) % len(self.class_names) if wanted is None else wanted
                label = self.class_names.index(wanted) if isinstance(wanted, str) else wanted
                name = self.class_names[label]
            pngs.append(self.png(seed, label))
            images.append(GeneratedImage(seed=seed, label=label, label_name=name, file=f"{i:05d}.png"))
        return GenerateResponse(model="acgan", images=images), pngs

    def zip(
        self, index: GenerateResponse | bytes, files: Mapping[str, bytes], compression: int = zipfile.ZIP_DEFLATED
    ) -> bytes:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", compression) as archive:
            content = index if isinstance(index, bytes) else index.model_dump_json(exclude_none=False).encode()
            archive.writestr("images.json", content)
            for name, data in files.items():
                archive.writestr(name, data)
        return buffer.getvalue()

    def error(self, status: int, code: str, message: str, param: str | None = None, **headers: str) -> Reply:
        """The contract's error body; the header and the body's request id are filled in when it is sent."""
        detail = {"code": code, "message": message, "param": param}
        body = json.dumps({"error": detail, "request_id": "filled-in"}).encode()
        return Reply(status, body, {"Content-Type": "application/json", **headers})

    def busy(self, status: int, retry_after: str = "0.01") -> Reply:
        return self.error(status, "busy", f"busy with {status}", **{"Retry-After": retry_after})


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """Print what goes wrong here, but for clients that left: that is what some tests are about."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    service: Service

    def log_message(self, *_args: object) -> None:
        """Requests are kept in `received`, not printed."""

    def do_GET(self) -> None:
        self._answer({})

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        body = self.rfile.read(length)
        if len(body) == length:  # else the client left before it had sent all
            self._answer(json.loads(body))

    def _answer(self, body: dict) -> None:
        service = self.service
        service.received.append(Received(self.path, dict(self.headers), body))
        service.got_request.set()
        step = service.script.popleft() if service.script else Act.CONTRACT
        if step is Act.CONTRACT:
            step = self._contract(body)
        if isinstance(step, Reply):
            self._send(step)
        elif step is Act.HOLD:
            service.closing.wait()
        elif step is Act.LATE:
            service.closing.wait(1.6)
            self._send(Reply(200, b"", {"Content-Length": "4096"}))
            service.closing.wait()
        elif step is Act.NOT_HTTP:
            self.wfile.write(b"SSH-2.0-OpenSSH_9.6\r\n")
        elif step is Act.CUT:
            self._send(Reply(200, b"PK\x03\x04", {"Content-Length": "4096"}))
        elif step is Act.TRICKLE:
            try:
                self._send(Reply(200, b"", {"Content-Length": "4096"}))
                while not service.closing.wait(0.01):
                    self.wfile.write(b"x")
            except OSError:
                service.client_left.set()

    def _send(self, reply: Reply) -> None:
        self.send_response(reply.status)
        headers = {"Content-Length": str(len(reply.body)), "X-Request-ID": self.headers["X-Request-ID"]}
        for name, value in {**headers, **reply.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(reply.body)

    def _contract(self, body: dict) -> Reply:
        service = self.service
        if service.api_key and self.headers["Authorization"] != f"Bearer {service.api_key}":
            return service.error(401, "unauthorized", "the API key is missing or wrong")
        if self.path == "/readyz":
            return Reply(200, b"\n", {"Content-Type": "text/plain"})
        if self.path == "/models":
            info = ModelInfo(
                name="acgan",
                image_size=SIZE,
                channels=service.channels,
                latent_dim=64,
                latent_distribution="normal",
                class_names=service.class_names,
                family="dcgan",
                artifact=service.artifact,
            )
            models = ModelList(models=[info])
            return Reply(200, models.model_dump_json().encode(), {"Content-Type": "application/json"})
        request = GenerateRequest.model_validate_json(json.dumps(body))
        known = service.class_names or []
        labels = request.label if isinstance(request.label, list) else [request.label]
        for label in labels:
            if (isinstance(label, str) and label not in known) or (isinstance(label, int) and label >= len(known)):
                message = f"label {label!r} is not a class of 'acgan': give 0 to {len(known) - 1} or a class name"
                return service.error(400, "invalid_label", message, "label")
        index, pngs = service.draw(request)
        files = {str(image.file): png for image, png in zip(index.images, pngs, strict=True)}
        version = {"X-Gan-Artifact": service.artifact} if service.artifact else {}
        return Reply(200, service.zip(index, files), {"Content-Type": "application/zip", **version})


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch):
    """Services are reached without the proxies that a shell names for an index of packages."""
    for name in ("HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def service() -> Iterator[Service]:
    it = Service()
    yield it
    it.close()


@pytest.fixture
def client(service) -> Iterator[GanClient]:
    with GanClient(service.url, timeout=20) as it:
        yield it


@pytest.fixture
def dataset(service, capsys, monkeypatch):
    """Run `gan-client dataset` to its end: exit code, stdout, stderr. In this process, since others take long."""

    def run(*arguments, cwd):
        monkeypatch.chdir(cwd)
        code = program.run(["dataset", *map(str, arguments), "--url", service.url])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


@pytest.fixture
def act() -> type[Act]:
    return Act


@pytest.fixture
def reply() -> type[Reply]:
    return Reply


@pytest.fixture
def broken_png() -> bytes:
    """A PNG whose header is right and whose pixels are not there."""
    whole = base64.b64decode(
        "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
    )
    return whole[:33] + b"\x00\x00\x00\x04IDATjunkjunk" + whole[-12:]


@pytest.fixture
def refused_url():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"
