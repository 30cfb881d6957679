"""Around every request: its id, the limit of its body, and the one shape of errors."""

from __future__ import annotations

import asyncio
import logging
import re
import uuid
from contextvars import ContextVar
from http import HTTPStatus
from http.client import responses
from typing import Final
from urllib.parse import quote

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gan_client.types import ErrorBody, ErrorDetail

from .errors import BodyTooLargeError, DeadlineError, ServiceError

logger = logging.getLogger("bentoml.ganworks")

REQUEST_ID_HEADER: Final = "x-request-id"
_VALID_ID: Final = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_SHOWN_PATH: Final = 200  # characters
_request_id: ContextVar[str] = ContextVar("request_id", default="")

_CODES: Final = {404: "not_found", 405: "method_not_allowed", 429: "queue_full", 503: "not_ready", 504: "deadline"}


def error_response(error: ServiceError) -> Response:
    """The error in its one shape, with the current request's id."""
    return _error(error.status, ErrorDetail(code=error.code, message=error.message, param=error.param), error.headers)


def _error(status: int, detail: ErrorDetail, headers: dict[str, str] | None = None) -> Response:
    body = ErrorBody(error=detail, request_id=_request_id.get())
    return Response(body.model_dump_json(), status, headers, media_type="application/json")


class Guard:
    """ASGI middleware. It never raises before a response has begun: BentoML would leave the caller hanging."""

    def __init__(self, app: ASGIApp, max_body: int, timeout: float) -> None:
        self.app = app
        self.max_body = max_body  # bytes
        self.timeout = timeout  # seconds until the response must have begun

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = headers.get(REQUEST_ID_HEADER, "")
        request_id = given if _VALID_ID.fullmatch(given) else uuid.uuid4().hex
        _request_id.set(request_id)
        deadline = asyncio.timeout(self.timeout)
        answer = _Answer(scope, send, request_id, deadline)
        try:
            self._check_length(headers)
            async with deadline:
                await self.app(scope, self._limited(receive, answer), answer)
        except TimeoutError:
            late = DeadlineError(f"no response within {self.timeout:g} s; ask for fewer images or try again later")
            await answer.fail(scope, receive, error_response(late))
        except ServiceError as error:
            await answer.fail(scope, receive, error_response(error))
        except Exception:
            logger.exception("request %s failed", request_id)
            if answer.began:
                raise
            detail = ErrorDetail(code="internal", message="the service failed; its log has this request's id")
            await answer.fail(scope, receive, _error(500, detail))

    def _check_length(self, headers: Headers) -> None:
        length = headers.get("content-length", "0")
        if length.isascii() and length.isdigit() and int(length) > self.max_body:
            raise self._too_large(f"the body has {length} bytes")

    def _limited(self, receive: Receive, answer: _Answer) -> Receive:
        received = 0

        async def limited() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self.max_body:
                answer.refusal = self._too_large("the body is longer")
                raise answer.refusal
            return message

        return limited

    def _too_large(self, what: str) -> BodyTooLargeError:
        return BodyTooLargeError(f"{what}; at most {self.max_body} bytes are accepted")


class _Answer:
    """The `send` that the application sees: adds the request id, and rewrites errors that are not in our shape."""

    def __init__(self, scope: Scope, send: Send, request_id: str, deadline: asyncio.Timeout) -> None:
        self.scope, self.send, self.request_id = scope, send, request_id
        self.deadline: asyncio.Timeout | None = deadline  # None once it is no longer running
        self.refusal: ServiceError | None = None  # the guard's own no, which the application may have caught
        self.began = False
        self.held: Message | None = None  # the start of an error response, until its body is known
        self.body = b""

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            if message["status"] >= HTTPStatus.BAD_REQUEST:
                self.held = message
                return
            await self._start(message)
        elif message["type"] == "http.response.body" and self.held is not None:
            self.body += message.get("body", b"")
            if not message.get("more_body", False):
                await self._finish_error(self.held)
        else:
            await self.send(message)

    async def _start(self, message: Message) -> None:
        MutableHeaders(scope=message)[REQUEST_ID_HEADER] = self.request_id
        self.began = True
        if self.deadline is not None and not self.deadline.expired():
            self.deadline.reschedule(None)  # a slow reader of a finished response is not late
        await self.send(message)

    async def _finish_error(self, start: Message) -> None:
        if self.refusal is not None:
            # BentoML makes a 500 of any exception that comes out of reading the body.
            replaced = error_response(self.refusal)
            start = {**start, "status": replaced.status_code, "headers": [*replaced.raw_headers]}
            self.body = bytes(replaced.body)
        elif not self.body.startswith(b'{"error":{"code":'):
            status = start["status"]
            path, method = quote(self.scope["path"])[:_SHOWN_PATH], self.scope["method"]
            messages = {404: f"there is no {path}", 405: f"{path} can't be called with {method}"}
            phrase = responses.get(status, "error").lower()
            detail = ErrorDetail(
                code=_CODES.get(status, phrase.replace(" ", "_")), message=messages.get(status, phrase)
            )
            replaced = _error(status, detail)
            kept = [(k, v) for k, v in start["headers"] if k.lower() in (b"retry-after", b"allow", b"server")]
            start = {**start, "headers": [*replaced.raw_headers, *kept]}
            self.body = bytes(replaced.body)
        await self._start(start)
        await self.send({"type": "http.response.body", "body": self.body})

    async def fail(self, scope: Scope, receive: Receive, response: Response) -> None:
        """Send an error of the guard itself, if nothing has been sent yet."""
        if not self.began:
            self.held, self.body, self.deadline = None, b"", None
            await response(scope, receive, self)
