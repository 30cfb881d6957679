"""What a caller's own headers, and its leaving, can do at the guard and what they can't."""

import asyncio
import gc
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from guarding import guard_of

TIMEOUT = 0.1  # seconds
PATIENCE = 10.0  # seconds until a test that hangs is ended


async def late(scope: Any, receive: Any, send: Any) -> None:  # noqa: ARG001
    await asyncio.Event().wait()


async def prompt(scope: Any, receive: Any, send: Any) -> None:  # noqa: ARG001
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def asked(app: Any, *headers: tuple[bytes, bytes], timeout: float = TIMEOUT) -> list[dict[str, Any]]:
    """What a request is answered, message by message."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": "/", "headers": [*headers], "query_string": b""}
    guard = guard_of(app, max_body=1000, timeout=timeout)
    asyncio.run(asyncio.wait_for(guard(scope, receive, send), PATIENCE))
    return sent


def test_a_caller_can_not_have_more_time_than_the_service_gives():
    start, body = asked(late, (b"x-request-timeout", b"60"))
    assert start["status"] == 504
    assert b"no response within 0.1 s" in body["body"]


@pytest.mark.parametrize("given", [b"0.05", b"5e-2"])
def test_a_caller_can_have_less(given: bytes):
    start, body = asked(late, (b"x-request-timeout", given), timeout=2 * PATIENCE)
    assert start["status"] == 504
    assert b"no response within 0.05 s" in body["body"]


def test_of_a_header_that_is_sent_twice_the_first_counts():
    start, *_ = asked(prompt, (b"x-request-id", b"one"), (b"x-request-id", b"two"))
    assert [value for name, value in start["headers"] if name == b"x-request-id"] == [b"one"]
    start, body = asked(late, (b"x-request-timeout", b"0.05"), (b"x-request-timeout", b"0.08"))
    assert start["status"] == 504
    assert b"no response within 0.05 s" in body["body"]


def cancelled(is_draining: bool) -> tuple[BaseException | None, list[dict[str, Any]]]:
    """What comes of a request that is cancelled while the application works on it, and what its caller is told."""

    async def talk() -> tuple[BaseException | None, list[dict[str, Any]]]:
        begun, sent = asyncio.Event(), []

        async def app(scope: Any, receive: Any, send: Any) -> None:  # noqa: ARG001
            begun.set()
            await asyncio.Event().wait()

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        scope = {"type": "http", "method": "GET", "path": "/", "headers": [], "query_string": b""}
        guard = guard_of(app, max_body=1000, timeout=PATIENCE, is_draining=lambda: is_draining)
        task = asyncio.create_task(guard(scope, asyncio.Event().wait, send))
        await begun.wait()
        task.cancel()
        (ended,) = await asyncio.gather(task, return_exceptions=True)
        return ended, sent

    return asyncio.run(talk())


def test_a_request_that_is_cancelled_while_the_service_runs_ends_without_an_answer():
    ended, sent = cancelled(is_draining=False)
    assert isinstance(ended, asyncio.CancelledError)
    assert sent == []


def test_a_request_that_is_cancelled_because_the_service_stops_is_told_so():
    ended, (start, body) = cancelled(is_draining=True)
    assert ended is None
    assert start["status"] == 503
    assert b'"code":"not_ready"' in body["body"]


@pytest.fixture
def _no_collections() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


async def reads(scope: Any, receive: Any, send: Any) -> None:
    came = []
    while (message := await receive())["more_body"]:
        came.append(message["body"])
    await prompt(scope, receive, send)


@pytest.mark.usefixtures("_no_collections")  # full ones are rare while serving
@pytest.mark.parametrize(
    ("status", "limits"),
    [(413, {"max_body": 99_999}), (503, {"max_bodies": 99_999}), (408, {"body_timeout": 0.01})],
)
def test_a_body_that_is_refused_is_not_kept(status: int, limits: dict[str, Any]):
    body = bytes(100_000)
    before = sys.getrefcount(body)
    pieces, sent = [body], []

    async def receive() -> dict[str, Any]:
        if not pieces:
            await asyncio.Event().wait()
        return {"type": "http.request", "body": pieces.pop(), "more_body": True}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/", "headers": [], "query_string": b""}
    guard = guard_of(reads, **{"max_body": 10**6, "timeout": PATIENCE} | limits)
    asyncio.run(asyncio.wait_for(guard(scope, receive, send), PATIENCE))
    assert sent[0]["status"] == status
    assert sys.getrefcount(body) == before
