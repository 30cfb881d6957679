"""Asking a running service from tests: its metrics, requests that hold its session, connections that misbehave."""

from __future__ import annotations

import base64
import concurrent.futures
import contextlib
import io
import json
import socket
import ssl
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import httpx
import numpy as np
import psutil
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families
from trap_artifact import latents
from waiting import until

PATIENCE = 60.0  # seconds for what must happen
SMALL = "small"
_TLS = ssl.create_default_context()  # made once: httpx takes 50 ms for its own, though nothing here is encrypted


class Address(Protocol):
    """Of a running service."""

    @property
    def url(self) -> str: ...

    @property
    def port(self) -> int: ...


class Workers(Protocol):
    """Those of a running service."""

    def workers(self) -> list[int]: ...


@dataclass(frozen=True)
class Series:
    """One look at /metrics."""

    samples: dict[tuple[str, frozenset[tuple[str, str]]], float]

    def total(self, name: str, **labels: str) -> float:
        """The sum of all series of this name that have these labels."""
        wanted = set(labels.items())
        return sum(value for (found, given), value in self.samples.items() if found == name and wanted <= given)

    def values(self, name: str) -> set[str]:
        """Every value of this label."""
        return {value for _, given in self.samples for label, value in given if label == name}

    def images(self, outcome: str) -> int:
        return int(self.total("gan_images_total", outcome=outcome))

    @property
    def waiting(self) -> int:
        return int(self.total("gan_queue_images"))

    @property
    def started(self) -> int:
        """Requests, or parts of long ones, whose first image has left the queue."""
        return int(self.total("gan_queue_wait_seconds_count"))


def post(service: Address, body: object, *, path: str = "/generate", **headers: str) -> httpx.Response:
    """An answer over a connection of its own."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.post(service.url + path, json=body, headers=named, timeout=10 * PATIENCE, verify=_TLS)


def look(service: Address) -> Series:
    """What /metrics says now."""
    response = httpx.get(f"{service.url}/metrics", timeout=PATIENCE, verify=_TLS)
    assert response.status_code == 200, response.text
    return Series(
        {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(response.text)
            for sample in family.samples
        }
    )


def worker_of(service: Workers, clients: list[socket.socket]) -> list[int | None]:
    """Which worker has each connection; None: not accepted yet."""
    owners = {
        connection.raddr.port: pid
        for pid in service.workers()
        for connection in psutil.Process(pid).net_connections("tcp")
        if connection.raddr
    }
    return [owners.get(client.getsockname()[1]) for client in clients]


def until_accepted(service: Workers, clients: list[socket.socket]) -> None:
    until(lambda: None not in worker_of(service, clients), "all connections are accepted")


def idle(service: Address) -> None:
    """Wait until nothing is queued and nothing is being answered but this look."""

    def nothing() -> bool:
        seen = look(service)
        return not seen.waiting and seen.total("bentoml_service_request_in_progress") == 1

    until(nothing, "the service is idle")


def slow(n: int = 1, products: int = 0, **fields: Any) -> dict[str, Any]:
    """A body that costs so many matrix products in each batch."""
    return {"model": SMALL, "latents": latents(n, products=products), "label": 0, "format": "npy"} | fields


@contextlib.contextmanager
def held(service: Address, seconds: float) -> Iterator[concurrent.futures.Future[httpx.Response]]:
    """The session of an idle service computes one image for so many seconds, about; its answer must be right."""
    trial, before = 2000, look(service)
    assert post(service, slow(products=trial)).status_code == 200
    after = look(service)
    each = (after.total("gan_run_seconds_sum") - before.total("gan_run_seconds_sum")) / trial
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        answer = pool.submit(post, service, slow(products=int(seconds / each)))
        until(lambda: look(service).started > after.started or answer.done(), "the session is held")
        yield answer
        assert answer.result().status_code == 200


def request_bytes(body: object, *, path: str = "/generate", method: str = "POST", **headers: str) -> bytes:
    """An HTTP/1.1 request."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    given = {"host": "test", "content-type": "application/json", "content-length": str(len(content))}
    given |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in given.items()), "", ""]
    return "\r\n".join(lines).encode("latin-1") + content


def connect(service: Address, **options: int) -> socket.socket:
    """A connection, whose socket options are set before it opens."""
    client = socket.socket()
    client.settimeout(PATIENCE)
    for name, value in options.items():
        client.setsockopt(socket.SOL_SOCKET, getattr(socket, name), value)
    try:
        client.connect(("127.0.0.1", service.port))
    except OSError:
        client.close()
        raise
    return client


@dataclass(frozen=True)
class Shown:
    """What a response holds."""

    images: Any  # uint8 (n, H, W, C)
    seeds: list[int | None] | None  # None: the format doesn't tell
    labels: list[int | None] | None


def read_images(wanted: str, content: bytes) -> Shown:
    """Images of a response in the format `wanted`: npy, json, ndjson or zip."""
    if wanted == "npy":
        return Shown(np.load(io.BytesIO(content), allow_pickle=False), None, None)
    if wanted == "zip":
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            assert archive.testzip() is None
            records = json.loads(archive.read("images.json"))["images"]
            files = [archive.read(record["file"]) for record in records]
    else:
        if wanted == "json":
            records = json.loads(content)["images"]
        else:
            *records, last = map(json.loads, content.splitlines())
            assert last["type"] == "done", last
            assert [record["index"] for record in records] == list(range(last["count"]))
        files = [base64.b64decode(record["png"]) for record in records]
    images = [np.asarray(Image.open(io.BytesIO(file))) for file in files]
    stacked = np.stack(images)
    return Shown(
        stacked if stacked.ndim == 4 else stacked[..., None],
        [record["seed"] for record in records],
        [record["label"] for record in records],
    )
