"""The guard as a real ASGI application: request ids, limits, deadlines, and one shape for every error."""

import asyncio
import logging
import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from guarded_app import (
    MAX_BODY,
    PATIENCE,
    TIMEOUT,
    make_app,
)
from guarding import guard_of
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, Router

from gan_client.types import ErrorBody
from gan_serving.middleware.json_marks import AT_ONCE

GENERATED_ID = re.compile(r"[0-9a-f]{32}")


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
