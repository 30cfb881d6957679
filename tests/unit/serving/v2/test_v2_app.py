"""The protocol's routes as a real ASGI application over a real queue, with a session that does as it is told."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pytest
from guarding import guard_of
from over_http import of_worker
from starlette.routing import Router

from gan_export.artifact import ImageSpec, Manifest
from gan_serving.batching.batcher import Batcher
from gan_serving.errors import UnknownModelError
from gan_serving.middleware.rate_limit import RateLimiter
from gan_serving.middleware.v2_errors import ProtocolErrors
from gan_serving.settings import Settings
from gan_serving.v2.routes import ROUTES
from gan_serving.worker.state import Worker

MAX_BATCH = 4
MAX_BODY = 20_000  # bytes
PATIENCE = 30.0  # seconds
RATE_IMAGES = 64  # images that a caller may ask for in the first second, and time stands still here


class OneModel:
    """A catalog of one generator around a given queue."""

    def __init__(self, manifest: Manifest, batcher: Batcher) -> None:
        self.generator = SimpleNamespace(manifest=manifest, batcher=batcher)

    def __len__(self) -> int:
        return 1

    def get(self, name: str) -> SimpleNamespace:
        if name != self.generator.manifest.name:
            raise UnknownModelError(f"model {name!r} is unknown", "model")
        return self.generator


async def elsewhere(_scope: Any, _receive: Any, send: Any) -> None:
    """What is behind our routes."""
    await send({"type": "http.response.start", "status": 404, "headers": []})
    await send({"type": "http.response.body", "body": b"not here"})


@pytest.fixture
def application(make_manifest: Callable[..., Manifest]) -> Callable[[Batcher], Any]:
    manifest = make_manifest(["a", "b", "c"], dim=2).model_copy(
        update={"image": ImageSpec(height=2, width=2, channels=1, mode="L", value_range=(-1.0, 1.0))}
    )

    def build(batcher: Batcher) -> Any:
        settings = Settings(max_n=64, max_body=MAX_BODY, rate_images=RATE_IMAGES)
        limiter = RateLimiter.from_settings(settings, clock=lambda: 0.0)
        # The metrics are BentoML's, and not looked at here.
        worker = Worker(settings, OneModel(manifest, batcher), metrics=None, limiter=limiter)
        router = Router(list(ROUTES), redirect_slashes=False, default=elsewhere)

        return ProtocolErrors(guard_of(of_worker(router, worker), max_body=MAX_BODY, timeout=PATIENCE))

    return build


def request(start: int, n: int, label: int = 1, **more: Any) -> dict[str, Any]:
    """For the session's images start, start + 1, ..."""
    z = [[start + i, 0.5] for i in range(n)]
    inputs = [
        {"name": "z", "shape": [n, 2], "datatype": "FP32", "data": z},
        {"name": "label", "shape": [n], "datatype": "INT64", "data": [label] * n},
    ]
    return {"inputs": inputs, "parameters": {"binary_data_output": True}} | more


def drawn(session: Any, start: int, n: int, label: int = 1) -> np.ndarray:
    latents = np.stack([np.arange(start, start + n), np.full(n, 0.5)], 1).astype(np.float32)
    return session.draw(latents, np.full(n, label))


def over_http(application: Any, scenario: Callable[[httpx.AsyncClient], Awaitable[None]]) -> Any:
    async def run(batcher: Batcher) -> None:
        transport = httpx.ASGITransport(application(batcher), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            await scenario(client)

    return run


def image_of(response: httpx.Response) -> np.ndarray:
    length = int(response.headers["inference-header-content-length"])
    (output,) = json.loads(response.content[:length])["outputs"]
    assert output["parameters"]["binary_data_size"] == len(response.content) - length
    return np.frombuffer(response.content[length:], np.uint8).reshape(output["shape"])


@pytest.mark.parametrize("n", [1, MAX_BATCH, MAX_BATCH + 1, 30])
def test_any_number_of_images_is_whole_and_in_order(application: Any, make_session: Any, n: int) -> None:
    session = make_session()

    async def scenario(client: httpx.AsyncClient) -> None:
        binary = await client.post("/v2/models/toy/infer", json=request(7, n))
        assert binary.headers["content-type"] == "application/octet-stream"
        assert int(binary.headers["content-length"]) == len(binary.content)
        assert np.array_equal(image_of(binary), drawn(session, 7, n))
        as_json = await client.post("/v2/models/toy/versions/1/infer", json=request(7, n, id="mine", parameters={}))
        assert "inference-header-content-length" not in as_json.headers
        body = as_json.json()
        assert (body["id"], body["model_name"], body["model_version"]) == ("mine", "toy", "1")
        (output,) = body["outputs"]
        assert (output["name"], output["datatype"], output["shape"]) == ("image", "UINT8", [n, 1, 2, 2])
        assert output["data"] == drawn(session, 7, n).ravel().tolist()

    session.drive(over_http(application, scenario), max_batch=MAX_BATCH)


class Wire:
    """One raw call, message by message."""

    def __init__(self, body: dict[str, Any]) -> None:
        self._body = json.dumps(body).encode()
        self._asked = False
        self.messages: list[dict[str, Any]] = []
        self.began, self.hangs_up = asyncio.Event(), asyncio.Event()

    async def receive(self) -> dict[str, Any]:
        if self._asked:
            await self.hangs_up.wait()
            return {"type": "http.disconnect"}
        self._asked = True
        return {"type": "http.request", "body": self._body}

    async def send(self, message: dict[str, Any]) -> None:
        self.messages.append(message)
        if message.get("body"):
            self.began.set()

    async def infer(self, application: Any) -> None:
        path = "/v2/models/toy/infer"
        scope = {"type": "http", "method": "POST", "path": path, "headers": [], "query_string": b""}
        await application(scope, self.receive, self.send)

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.messages)


def test_a_long_binary_answer_begins_before_it_is_all_computed(application: Any, make_session: Any) -> None:
    session = make_session(held=True)

    async def scenario(batcher: Batcher) -> None:
        wire = Wire(request(0, 5 * MAX_BATCH))
        call = asyncio.create_task(wire.infer(application(batcher)))
        session.let_go(2)
        await wire.began.wait()
        assert len(session.computed) < 5 * MAX_BATCH
        session.let_go()
        await call
        assert wire.body.endswith(drawn(session, 0, 5 * MAX_BATCH).tobytes())

    session.drive(scenario, max_batch=MAX_BATCH)


def test_a_failure_behind_the_beginning_cuts_a_binary_answer_off(application: Any, make_session: Any) -> None:
    session = make_session(poison=frozenset({9}))

    async def scenario(batcher: Batcher) -> None:
        wire = Wire(request(0, 12))
        await wire.infer(application(batcher))
        assert wire.messages[0]["status"] == 200
        # The server closes a connection whose last message never came: nobody takes the part for the whole.
        assert all(message["more_body"] for message in wire.messages[1:])
        assert len(wire.body) < int(dict(wire.messages[0]["headers"])[b"content-length"])

    session.drive(scenario, max_batch=MAX_BATCH)


@pytest.mark.parametrize("poison", [2, 9])
def test_the_image_that_fails_is_named_where_nothing_was_sent(application: Any, make_session: Any, poison: int) -> None:
    session = make_session(poison=frozenset({poison}))

    async def scenario(client: httpx.AsyncClient) -> None:
        response = await client.post("/v2/models/toy/infer", json=request(0, 12, parameters={}))
        assert response.status_code == 500
        body = response.json()
        assert body["code"] == "generation_failed"
        assert f"image {poison} could not be generated" in body["error"]

    session.drive(over_http(application, scenario), max_batch=MAX_BATCH)


def test_the_requests_own_timeout_ends_it_and_takes_it_out_of_the_queue(application: Any, make_session: Any) -> None:
    session = make_session(held=True)

    async def scenario(client: httpx.AsyncClient) -> None:
        first = asyncio.create_task(client.post("/v2/models/toy/infer", json=request(0, 1)))
        await session.is_running()
        late = await client.post("/v2/models/toy/infer", json=request(100, 20, parameters={"timeout": 20_000}))
        assert late.status_code == 504
        assert late.json()["code"] == "deadline"
        assert "0.02 s" in late.json()["error"]
        session.let_go()
        assert (await first).status_code == 200
        assert session.computed == [0]

    session.drive(over_http(application, scenario), max_batch=MAX_BATCH)


def test_who_hangs_up_costs_no_more_images(application: Any, make_session: Any) -> None:
    session = make_session(held=True)

    async def scenario(batcher: Batcher) -> None:
        stays, leaves, service = Wire(request(0, 1)), Wire(request(100, 20)), application(batcher)
        first = asyncio.create_task(stays.infer(service))
        await session.is_running()
        second = asyncio.create_task(leaves.infer(service))
        leaves.hangs_up.set()
        await second
        assert leaves.messages == []
        session.let_go()
        await first
        assert session.computed == [0]

    session.drive(scenario, max_batch=MAX_BATCH)


def test_a_full_queue_is_429_with_retry_after(application: Any, make_session: Any) -> None:
    session = make_session(held=True)

    async def scenario(client: httpx.AsyncClient) -> None:
        first = asyncio.create_task(client.post("/v2/models/toy/infer", json=request(0, 1)))
        await session.is_running()
        # There is room for either of the two, not for both.
        two = [asyncio.create_task(client.post("/v2/models/toy/infer", json=request(i, 3))) for i in (10, 20)]
        (refused,), (waiting,) = await asyncio.wait(two, return_when=asyncio.FIRST_COMPLETED)
        response = refused.result()
        assert response.status_code == 429
        assert int(response.headers["retry-after"]) >= 1
        assert response.json()["code"] == "queue_full"
        session.let_go()
        assert [(await each).status_code for each in (first, waiting)] == [200, 200]

    session.drive(over_http(application, scenario), max_batch=MAX_BATCH, capacity=5)


def test_images_are_charged_to_the_callers_limit_before_they_are_queued(application: Any, make_session: Any) -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        assert (await client.post("/v2/models/toy/infer", json=request(0, RATE_IMAGES))).status_code == 200
        response = await client.post("/v2/models/toy/infer", json=request(100, 1))
        assert response.status_code == 429
        assert response.json()["code"] == "rate_limited"

    session = make_session()
    session.drive(over_http(application, scenario))
    assert session.computed == list(range(RATE_IMAGES))


def test_what_is_refused_for_overload_is_not_charged(application: Any, make_session: Any) -> None:
    session = make_session(held=True)

    async def driven(batcher: Batcher) -> None:
        async def scenario(client: httpx.AsyncClient) -> None:
            def post(start: int, n: int) -> Any:
                return client.post("/v2/models/toy/infer", json=request(start, n))

            first = asyncio.create_task(post(0, 1))
            await session.is_running()
            waiting = asyncio.create_task(post(10, 4))
            while batcher.waiting < 4:
                await asyncio.sleep(0)
            for _ in range(3):
                refused = await post(20, RATE_IMAGES - 5)
                assert (refused.status_code, refused.json()["code"]) == (429, "queue_full")
            session.let_go()
            assert [(await each).status_code for each in (first, waiting)] == [200, 200]
            assert (await post(20, RATE_IMAGES - 5)).status_code == 200, "it owes images that nobody drew"

        await over_http(application, scenario)(batcher)

    session.drive(driven, max_batch=MAX_BATCH, capacity=5)


@pytest.mark.parametrize(
    ("method", "path", "content", "status", "code", "param"),
    [
        ("POST", "/v2/models/toy/infer", b"{bad", 400, "invalid_request", None),
        ("POST", "/v2/models/toy/infer", json.dumps(request(0, 1, label=3)).encode(), 400, "invalid_request", "label"),
        ("POST", "/v2/models/toy/infer", b" " * (MAX_BODY + 1), 413, "body_too_large", None),
        ("POST", "/v2/models/nobody/infer", b"{}", 404, "unknown_model", "model"),
        ("POST", "/v2/models/toy/versions/2/infer", b"{}", 404, "unknown_model", "version"),
        ("GET", "/v2/models/toy/infer", b"", 405, "method_not_allowed", None),
        ("GET", "/v2/nowhere", b"", 404, "not_found", None),
        ("GET", "/v2/models/toy/..%2f..%2fetc", b"", 404, "not_found", None),
        ("POST", "/v2/repository/index", b'{"ready": 1}', 400, "invalid_request", "ready"),
        ("POST", "/v2/repository/index", b'{"all": true}', 400, "invalid_request", None),
        ("POST", "/v2/repository/models/toy/load", b'{"parameters": {"config": "{}"}}', 400, "invalid_request", None),
        ("POST", "/v2/repository/models/toy/load", b'{"parameters": []}', 400, "invalid_request", None),
        ("POST", "/v2/repository/models/toy/unload", b'{"parameters": {"x": 1}}', 400, "invalid_request", None),
    ],
)
def test_errors_are_the_protocols_with_all_of_ours(
    application: Any, make_session: Any, method: str, path: str, content: bytes, status: int, code: str, param: str
) -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        response = await client.request(method, path, content=content, headers={"x-request-id": "test-7"})
        assert response.status_code == status, response.text
        body = response.json()
        assert set(body) == {"error", "code", "param", "request_id"}
        assert isinstance(body["error"], str)
        assert (body["code"], body["request_id"]) == (code, "test-7")
        if param is not None:
            assert body["param"] == param

    session = make_session()
    session.drive(over_http(application, scenario))
    assert session.batches == []


def test_elsewhere_errors_keep_their_shape(application: Any, make_session: Any) -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        for path in ("/nowhere", "/v20", "/v2x/health/live"):
            assert (await client.get(path)).json()["error"]["code"] == "not_found"

    make_session().drive(over_http(application, scenario))


def test_an_answer_that_would_be_too_much_json_is_refused_before_it_is_queued(
    application: Any, make_session: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gan_serving.v2.infer.JSON_VALUES", 8)

    async def scenario(client: httpx.AsyncClient) -> None:
        assert (await client.post("/v2/models/toy/infer", json=request(0, 2, parameters={}))).status_code == 200
        response = await client.post("/v2/models/toy/infer", json=request(0, 3, parameters={}))
        assert response.status_code == 400
        assert "binary_data" in response.json()["error"]
        assert (await client.post("/v2/models/toy/infer", json=request(0, 3))).status_code == 200

    session = make_session()
    session.drive(over_http(application, scenario))
    assert session.computed == [0, 1, 0, 1, 2]
