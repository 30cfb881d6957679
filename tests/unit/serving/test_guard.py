"""The guard as a real ASGI application: request ids, limits, deadlines, and one shape for every error."""

import asyncio
import errno
import json
import logging
import re
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import httpx
import pytest
from guarding import guard_of
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route, Router

from gan_client.types import ErrorBody
from gan_serving.error_response import error_response
from gan_serving.errors import InvalidRequestError, QueueFullError, ServiceError
from gan_serving.json_marks import AT_ONCE

MAX_BODY = 1000  # bytes
TIMEOUT = 0.2  # seconds, for what is meant to be late
PATIENCE = 30.0  # seconds, for what is not
GENERATED_ID = re.compile(r"[0-9a-f]{32}")


async def echo(request: Request) -> Response:
    return Response(await request.body(), headers={"X-Own": "1"})


async def ignores_body(_: Request) -> Response:
    return PlainTextResponse("fine")


async def catches_everything(request: Request) -> Response:
    """What BentoML does around the parsing of a request."""
    try:
        return await echo(request)
    except Exception:  # noqa: BLE001
        return JSONResponse({"detail": "BentoML's own words"}, 500, {"X-Own": "1"})


async def raises(_: Request) -> Response:
    raise ZeroDivisionError("a secret of the service")


async def refuses(_: Request) -> Response:
    return error_response(InvalidRequestError("n is 0; it must be more", "n"))


async def raises_own(_: Request) -> Response:
    raise QueueFullError("4 images are waiting", 2.5)


async def times_out_itself(_: Request) -> Response:
    raise OSError(errno.ETIMEDOUT, "a disk far away")


async def late(_: Request) -> Response:
    await asyncio.Event().wait()
    raise AssertionError


async def answers_with(request: Request) -> Response:
    headers = {"Retry-After": "17", "Allow": "PUT", "X-Secret": "1", "Content-Type": "text/html"}
    return Response("<h1>No.</h1>", int(request.path_params["status"]), headers)


async def json_array(_: Request) -> Response:
    return JSONResponse([{"type": "missing", "loc": ["body"]}], 400)


async def many_parts(_: Request) -> Response:
    async def parts() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b"no "

    return StreamingResponse(parts(), 503)


ENDPOINTS = [
    echo, ignores_body, catches_everything, raises, refuses, raises_own, times_out_itself, late, json_array, many_parts,
]  # fmt: skip


def make_app(timeout: float) -> Starlette:
    """As BentoML installs it: inside Starlette's outermost error handler, around everything else."""
    routes = [Route(f"/{endpoint.__name__}", endpoint, methods=["GET", "POST"]) for endpoint in ENDPOINTS]
    routes.append(Route("/status/{status}", answers_with))
    paths = [route.path for route in routes]
    guard = Middleware(guard_of, max_body=MAX_BODY, timeout=timeout, paths=paths)
    return Starlette(routes=routes, middleware=[guard])


def call(path: str, method: str = "GET", *, timeout: float = PATIENCE, **options: Any) -> httpx.Response:
    async def request() -> httpx.Response:
        transport = httpx.ASGITransport(make_app(timeout))
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            return await asyncio.wait_for(client.request(method, path, **options), PATIENCE)

    return asyncio.run(request())


def error_of(response: httpx.Response) -> ErrorBody:
    """The body in its one shape, which a response with an error must have whoever made it."""
    assert response.headers["content-type"] == "application/json"
    assert int(response.headers["content-length"]) == len(response.content)
    body = ErrorBody.model_validate_json(response.content)
    assert body.request_id == response.headers["x-request-id"]
    assert set(response.json()) == {"error", "request_id"}
    assert set(response.json()["error"]) == {"code", "message", "param"}
    assert "\n" not in body.error.message
    return body


@pytest.mark.parametrize("path", ["/ignores_body", "/refuses", "/raises", "/nowhere", "/status/503"])
@pytest.mark.parametrize("given", ["a", "A-1._:z", "0" * 128])
def test_a_request_id_is_echoed(path: str, given: str):
    response = call(path, headers={"X-Request-ID": given})
    assert response.headers.get_list("x-request-id") == [given]


@pytest.mark.parametrize("given", [None, "", " ", "0" * 129, "two words", "a,b", "<b>", "Ünï".encode(), "a\tb"])
def test_a_missing_or_invalid_request_id_is_replaced(given: str | bytes | None):
    responses = [call("/ignores_body", headers=[] if given is None else [("X-Request-ID", given)]) for _ in range(2)]
    ids = [response.headers["x-request-id"] for response in responses]
    assert all(GENERATED_ID.fullmatch(found) for found in ids)
    assert ids[0] != ids[1]


@pytest.mark.parametrize("size", [0, 1, MAX_BODY])
def test_bodies_within_the_limit_pass(size: int):
    async def parts() -> AsyncIterator[bytes]:
        for _ in range(size):
            yield b"x"

    for content in (b"x" * size, parts()):
        response = call("/echo", "POST", content=content)
        assert (response.status_code, response.content) == (200, b"x" * size)
        assert response.headers["x-own"] == "1"


@pytest.mark.parametrize("path", ["/echo", "/ignores_body", "/catches_everything"])
def test_a_declared_body_that_is_too_large_is_refused_unread(path: str):
    response = call(path, "POST", content=b"x" * (MAX_BODY + 1))
    assert response.status_code == 413
    error = error_of(response).error
    assert (error.code, error.param) == ("body_too_large", None)
    assert error.message == "the body has 1001 bytes; at most 1000 bytes are accepted"


@pytest.mark.parametrize("path", ["/echo", "/catches_everything"])
def test_a_chunked_body_that_is_too_large_is_refused_where_the_limit_is(path: str):
    sent = 0

    async def parts() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(1000):
            sent += 100
            yield b"x" * 100

    response = call(path, "POST", content=parts())
    assert response.status_code == 413
    assert error_of(response).error.code == "body_too_large"
    assert "x-own" not in response.headers
    assert sent <= MAX_BODY + 200


def test_bodies_of_several_requests_are_limited_together_but_for_short_ones():
    reached, release = asyncio.Event(), asyncio.Event()

    async def holds(request: Request) -> Response:
        size = len(await request.body())
        if request.url.query:
            reached.set()
            await release.wait()
        return PlainTextResponse(str(size))

    async def talk() -> None:
        app = guard_of(
            Router([Route("/", holds, methods=["POST"])]),
            max_body=3 * AT_ONCE,
            timeout=PATIENCE,
            max_bodies=3 * AT_ONCE,
        )
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            alone = asyncio.create_task(client.post("/?wait", content=b"x" * 3 * AT_ONCE))
            await asyncio.wait_for(reached.wait(), PATIENCE)
            for short in (0, 1, AT_ONCE):
                assert (await client.post("/", content=b"x" * short)).text == str(short), "it needs no room"
            for _ in range(3):
                refused = await client.post("/", content=b"x" * (AT_ONCE + 1))
                assert refused.status_code == 503
                assert refused.headers["retry-after"] == "1"
                error = error_of(refused).error
                assert (error.code, error.message) == (
                    "too_many_bodies",
                    f"this worker holds {3 * AT_ONCE} bytes of long requests, the most it takes; try again later",
                )
            release.set()
            assert (await alone).text == str(3 * AT_ONCE)
            again = await client.post("/", content=b"x" * 3 * AT_ONCE)
            assert again.text == str(3 * AT_ONCE), "what was held has not been let go"

    asyncio.run(asyncio.wait_for(talk(), PATIENCE))


@pytest.mark.parametrize("length", ["abc", "-5", "1e9", "\u0663\u0663\u0663\u0663"])
def test_a_length_that_is_none_does_not_break_the_guard(length: str):
    response = call("/ignores_body", "POST", headers=[(b"Content-Length", length.encode())], content=b"x")
    assert response.status_code == 200


def test_an_application_that_raises(caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.ERROR, logger="bentoml.ganworks"):
        response = call("/raises", headers={"X-Request-ID": "find-me"})
    assert response.status_code == 500
    error = error_of(response).error
    assert error.code == "internal"
    assert "secret" not in response.text
    assert "request find-me failed" in caplog.text
    assert "a secret of the service" in caplog.text


def test_an_error_of_the_service_passes_as_it_is():
    response = call("/refuses")
    assert response.status_code == 400
    error = error_of(response).error
    assert (error.code, error.message, error.param) == ("invalid_request", "n is 0; it must be more", "n")


def test_an_error_of_the_service_that_nobody_caught():
    response = call("/raises_own")
    assert response.status_code == 429
    assert response.headers["retry-after"] == "3"
    assert error_of(response).error.code == "queue_full"


@pytest.mark.parametrize(
    ("path", "method", "status", "code", "message"),
    [
        ("/nowhere", "GET", 404, "not_found", "there is no /nowhere"),
        ("/json_aray", "GET", 404, "not_found", "there is no /json_aray; the nearest path is /json_array"),
        ("/two%0Alines/%C3%9C", "GET", 404, "not_found", "there is no /two%0Alines/%C3%9C"),
        ("/" + "x" * 5000, "GET", 404, "not_found", "there is no /" + "x" * 199),
        ("/status/404", "GET", 404, "not_found", "there is no /status/404"),
        ("/echo", "DELETE", 405, "method_not_allowed", "/echo can't be called with DELETE; use GET or POST"),
        ("/json_array", "GET", 400, "bad_request", "bad request"),
        ("/many_parts", "GET", 503, "not_ready", "service unavailable"),
        ("/status/401", "GET", 401, "unauthorized", "unauthorized"),
        ("/status/429", "GET", 429, "queue_full", "too many requests"),
        ("/status/500", "GET", 500, "internal_server_error", "internal server error"),
        ("/status/599", "GET", 599, "error", "error"),
    ],
)
def test_errors_of_others_are_put_into_our_shape(path: str, method: str, status: int, code: str, message: str):
    response = call(path, method)
    assert response.status_code == status
    error = error_of(response).error
    assert (error.code, error.message) == (code, message)


def test_what_an_error_response_keeps():
    response = call("/status/503")
    assert response.headers["retry-after"] == "17"
    assert response.headers["allow"] == "PUT"
    assert "x-secret" not in response.headers


def test_a_late_response_is_a_504():
    response = call("/late", timeout=TIMEOUT)
    assert response.status_code == 504
    error = error_of(response).error
    assert error.code == "deadline"
    assert error.message == "no response within 0.2 s; ask for fewer images or try again later"


def test_a_timeout_of_its_own_is_a_fault_of_the_service_and_no_deadline(caplog: pytest.LogCaptureFixture):
    response = call("/times_out_itself", headers={"X-Request-ID": "find-me"})
    assert response.status_code == 500
    assert error_of(response).error.code == "internal"
    assert "request find-me failed" in caplog.text
    assert "a disk far away" in caplog.text


class Conversation:
    """An ASGI call in which the test sees every message when it is sent."""

    def __init__(self, app: Callable[..., Coroutine[Any, Any, None]], timeout: float) -> None:
        self.messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        scope = {"type": "http", "method": "GET", "path": "/", "headers": [], "query_string": b""}
        guard = guard_of(app, max_body=MAX_BODY, timeout=timeout)
        self.task = asyncio.create_task(guard(scope, self.receive, self.messages.put))

    async def receive(self) -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def next(self) -> dict[str, Any]:
        return await asyncio.wait_for(self.messages.get(), PATIENCE)


START = {"type": "http.response.start", "status": 200, "headers": []}


def test_a_stream_passes_part_by_part_and_may_outlast_the_deadline():
    async def talk() -> None:
        go_on = asyncio.Event()
        deadline = asyncio.get_running_loop().time() + TIMEOUT

        async def app(scope, receive, send) -> None:  # noqa: ARG001
            await send({**START})
            await send({"type": "http.response.body", "body": b"one", "more_body": True})
            await go_on.wait()
            await send({"type": "http.response.body", "body": b"two", "more_body": False})

        conversation = Conversation(app, TIMEOUT)
        start = await conversation.next()
        assert [name for name, _ in start["headers"]] == [b"x-request-id"]
        assert (await conversation.next())["body"] == b"one"  # while the application is still at work
        passed = asyncio.Event()
        asyncio.get_running_loop().call_at(deadline + TIMEOUT, passed.set)
        await passed.wait()
        go_on.set()
        assert (await conversation.next())["body"] == b"two"
        await conversation.task

    asyncio.run(talk())


@pytest.mark.parametrize(
    "error", [ZeroDivisionError("too bad"), TimeoutError("too bad"), InvalidRequestError("too bad")]
)
def test_an_error_after_the_response_began_sends_nothing_more_and_is_logged(
    error: Exception, caplog: pytest.LogCaptureFixture
):
    async def talk() -> None:
        async def app(scope, receive, send) -> None:  # noqa: ARG001
            await send({**START})
            raise error

        conversation = Conversation(app, PATIENCE)
        await asyncio.wait([conversation.task])
        assert conversation.messages.qsize() == 1
        if isinstance(error, ServiceError):
            await conversation.task
        else:
            with pytest.raises(type(error)):
                await conversation.task

    asyncio.run(talk())
    (told,) = [each for each in caplog.records if each.name == "bentoml.ganworks"]
    assert re.match(r"request [0-9a-f]{32} (failed|was cut off after its response had begun: \[)", told.getMessage())
    assert "too bad" in caplog.text


@pytest.mark.parametrize("fault", [ZeroDivisionError("no"), None])
def test_an_error_response_that_was_begun_and_not_finished(fault: Exception | None):
    """An application that announces a 404 and then fails or hangs: one response, and it is whole."""

    async def talk() -> None:
        async def app(scope, receive, send) -> None:  # noqa: ARG001
            await send({**START, "status": 404})
            await send({"type": "http.response.body", "body": b"half", "more_body": True})
            if fault is not None:
                raise fault
            await asyncio.Event().wait()

        conversation = Conversation(app, TIMEOUT)
        start, body = await conversation.next(), await conversation.next()
        assert start["status"] == (504 if fault is None else 500)
        assert json.loads(body["body"])["error"]["code"] == ("deadline" if fault is None else "internal")
        await conversation.task
        assert conversation.messages.empty()

    asyncio.run(talk())


def test_other_protocols_pass_untouched():
    seen = []

    async def app(scope, receive, send) -> None:  # noqa: ARG001
        seen.append(scope["type"])

    async def talk() -> None:
        guard = guard_of(app, max_body=MAX_BODY, timeout=TIMEOUT)
        for kind in ("lifespan", "websocket"):
            await guard({"type": kind}, asyncio.Queue().get, asyncio.Queue().put)

    asyncio.run(talk())
    assert seen == ["lifespan", "websocket"]


def test_a_caller_that_leaves_in_the_middle_of_its_body_is_no_fault_of_the_service(caplog: pytest.LogCaptureFixture):
    came: list[dict[str, Any]] = [
        {"type": "http.request", "body": b"{", "more_body": True},
        {"type": "http.disconnect"},
    ]
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return came.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http", "method": "POST", "path": "/echo", "query_string": b"", "http_version": "1.1",
        "scheme": "http", "server": ("service", 80), "client": ("caller", 1), "root_path": "",
        "headers": [(b"content-length", b"100")],
    }  # fmt: skip
    asyncio.run(make_app(PATIENCE)(scope, receive, send))
    assert (sent, came) == ([], [])
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
