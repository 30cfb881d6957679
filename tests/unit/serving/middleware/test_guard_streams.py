"""Responses under way at the guard: streams, faults behind the beginning, callers that leave."""

import asyncio
import json
import logging
import re
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from guarded_app import (
    MAX_BODY,
    PATIENCE,
    TIMEOUT,
    make_app,
)
from guarding import guard_of

from gan_serving.errors import InvalidRequestError, ServiceError


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
