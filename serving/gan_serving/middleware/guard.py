"""Around every request: its id, the limit of its body, its deadline, and an answer whatever happens."""

from __future__ import annotations

import asyncio
import logging
import math
import re
import time
from collections.abc import Callable, Collection
from http import HTTPStatus
from typing import Final, Protocol, TypeAlias

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gan_serving.call import Call, begin_call, new_request_id
from gan_serving.errors import (
    BodyTooLargeError,
    CallerLeftError,
    DeadlineError,
    InvalidRequestError,
    NotReadyError,
    RequestTimeoutError,
    ServiceError,
    TooManyBodiesError,
)
from gan_serving.probes import UNCOUNTED
from gan_serving.process.deadline import Deadline

from .api_keys import CALLER_SCOPE_KEY, Keys
from .body import timed_receive
from .error_response import detail_of_status, error_of, error_response, internal_error, tell_cut_off
from .foreign_pages import ForeignPages, may_cost
from .json_marks import AT_ONCE
from .rate_limit import RateLimiter, caller_of

logger = logging.getLogger("bentoml.ganworks")

REQUEST_ID_HEADER: Final = "x-request-id"
TIMEOUT_HEADER: Final = "x-request-timeout"
"""Seconds after which the caller needs no answer any more, if that is less than the service's own limit."""
_RAW_ID_HEADER: Final = REQUEST_ID_HEADER.encode()
_RAW_TIMEOUT_HEADER: Final = TIMEOUT_HEADER.encode()
_Sent: TypeAlias = dict[bytes, bytes]  # a request's headers, as ASGI has them
_VALID_ID: Final = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_PAGE: Final = "/ui/"  # whose two dozen small files are more than a burst, and cost nothing
_SHOWN_VALUE: Final = 60  # characters


class Observer(Protocol):
    """Is told of every request."""

    def begin(self) -> None:
        """A request came."""

    def end(self, scope: Scope, call: Call, seconds: float) -> None:
        """It was answered, or its caller left."""


class Guard:
    """ASGI middleware. It never raises before a response has begun: BentoML would leave the caller hanging."""

    def __init__(
        self,
        app: ASGIApp,
        max_body: int,
        timeout: float,
        *,
        max_bodies: float = math.inf,
        body_timeout: float,
        keys: Keys,
        limiter: RateLimiter,
        observer: Observer,
        pages: ForeignPages,
        refusal: Callable[[Scope], ServiceError | None] = lambda _scope: None,
        is_draining: Callable[[], bool] = lambda: False,
        paths: Collection[str] = (),
    ) -> None:
        self.app = app
        self.max_body = max_body  # bytes
        self.max_bodies = max_bodies  # bytes of all long bodies together; at least max_body
        self.timeout = timeout  # seconds until the response must have begun
        self.body_timeout = body_timeout  # seconds until the body must be there
        self.keys = keys
        self.limiter = limiter
        self.observer = observer
        self.refusal = refusal  # of a request that isn't worth reading now
        self.pages = pages
        self.is_draining = is_draining  # whether the process was told to stop
        self._held = 0  # bytes of the long bodies of all requests that are not answered yet
        self.paths = paths  # that there are, to name the nearest one to whoever mistyped it

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        # Starlette's Headers look through all of them for each name. The first of a name counts, as there.
        headers = dict(reversed(scope["headers"]))
        given = headers.get(_RAW_ID_HEADER, b"").decode("latin-1")
        call = Call(given if given and _VALID_ID.fullmatch(given) else new_request_id())
        begin_call(call)
        began = time.perf_counter()
        self.observer.begin()
        try:
            await self._answer(scope, receive, send, headers, call)
        finally:
            self.observer.end(scope, call, time.perf_counter() - began)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, headers: _Sent, call: Call) -> None:
        answer = _Answer(scope, send, call, self.paths)
        timeout = self.timeout
        try:
            if may_cost(scope["method"], scope["path"]):
                self.pages.check(headers)
            await self._check_caller(scope, call)
            self._check_length(headers)
            if (refused := self.refusal(scope)) is not None:
                raise refused
            timeout = self._timeout(headers)
            with Deadline(timeout) as answer.deadline:
                await self.app(scope, self._limited(receive, answer), answer)
        except (CallerLeftError, ClientDisconnect):  # the second one in the middle of the body
            call.code = CallerLeftError.code
        except ServiceError as error:
            await self._refuse(answer, receive, error)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or not self.is_draining():
                raise
            task.uncancel()  # uvicorn cancels what is left after GAN_DRAIN, and would tell the caller of a fault
            left = NotReadyError("the service stops, and GAN_DRAIN was over before the answer was ready; try again")
            await self._refuse(answer, receive, left)
        except Exception as error:
            if isinstance(error, TimeoutError) and answer.is_late:  # a handler may have a TimeoutError of its own
                late = DeadlineError(f"no response within {timeout:g} s; ask for fewer images or try again later")
                await self._refuse(answer, receive, late)
                return
            logger.exception("request %s failed", call.request_id)
            call.code = "internal"
            if answer.began:
                raise
            await answer.fail(receive, error_of(500, internal_error()))
        finally:
            self._held -= answer.held_bytes
            # Its traceback has this answer, and the body: they would stay until a full collection.
            answer.refusal = None

    async def _refuse(self, answer: _Answer, receive: Receive, error: ServiceError) -> None:
        """Answer with an error; where a response has begun, its connection closes before the end."""
        if answer.began:
            tell_cut_off(error)
        await answer.fail(receive, error_response(error))

    def _timeout(self, headers: _Sent) -> float:
        """Seconds that this request may take."""
        raw = headers.get(_RAW_TIMEOUT_HEADER)
        if raw is None:
            return self.timeout
        given = raw.decode("latin-1")
        try:
            seconds = float(given)
        except ValueError:
            seconds = math.nan
        if not 0 < seconds < math.inf:
            raise InvalidRequestError(
                f"{TIMEOUT_HEADER} is {given[:_SHOWN_VALUE]!r}; it must be a number of seconds above 0", TIMEOUT_HEADER
            )
        return min(seconds, self.timeout)

    async def _check_caller(self, scope: Scope, call: Call) -> None:
        """Who may not call has no place in a queue, and nobody reads the body."""
        if self.keys.enabled and not self.keys.is_open(scope["method"], scope["path"]):
            call.key = scope[CALLER_SCOPE_KEY] = await self.keys.check(Headers(scope=scope))
        if self.limiter.enabled:
            path = scope["path"]
            if path not in UNCOUNTED and not path.startswith(_PAGE):
                self.limiter.admit(caller_of(scope))

    def _check_length(self, headers: _Sent) -> None:
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > self.max_body:
            raise self._too_large(f"the body has {int(length)} bytes")

    def _limited(self, receive: Receive, answer: _Answer) -> Receive:
        if self.body_timeout < math.inf:
            receive = timed_receive(receive, self.body_timeout)

        async def limited() -> Message:
            before = answer.held_bytes
            try:
                message = await receive()
            except RequestTimeoutError as error:
                answer.refusal = error
                raise
            answer.received += len(message.get("body", b""))
            more = answer.held_bytes - before
            self._held += more
            if answer.received > self.max_body:
                answer.refusal = self._too_large("the body is longer")
            elif more and self._held > self.max_bodies:
                answer.refusal = TooManyBodiesError(
                    f"this worker holds {self.max_bodies} bytes of long requests, the most it takes; try again later", 1
                )
            if answer.refusal is not None:
                raise answer.refusal
            return message

        return limited

    def _too_large(self, what: str) -> BodyTooLargeError:
        return BodyTooLargeError(f"{what}; at most {self.max_body} bytes are accepted")


class _Answer:
    """The `send` that the application sees: adds the request id, and rewrites errors that are not in our shape."""

    def __init__(self, scope: Scope, send: Send, call: Call, known: Collection[str]) -> None:
        self.scope, self.send, self.call, self.known = scope, send, call, known
        self.deadline: Deadline | None = None  # None before it runs
        self.refusal: ServiceError | None = None  # the guard's own no, which the application may have caught
        self.received = 0  # bytes of the request's body
        self.began = False
        self.held: Message | None = None  # the start of an error response, until its body is known
        self.body = b""

    @property
    def held_bytes(self) -> int:
        """What its body takes of the room for all; a short one takes none, and finds room beside stalled long ones."""
        return self.received if self.received > AT_ONCE else 0

    @property
    def is_late(self) -> bool:
        """Whether the deadline is what ended it."""
        return self.deadline is not None and self.deadline.expired

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
            self.call.sent += len(message.get("body", b""))
            await self.send(message)

    async def _start(self, message: Message) -> None:
        message["headers"] = [*message["headers"], (_RAW_ID_HEADER, self.call.request_id.encode("latin-1"))]
        self.began = True
        self.call.status = message["status"]
        if self.deadline is not None:
            self.deadline.lift()  # a slow reader of a finished response is not late
        await self.send(message)

    async def _finish_error(self, start: Message) -> None:
        if self.refusal is not None:
            # BentoML makes a 500 of any exception that comes out of reading the body.
            replaced = error_response(self.refusal)
            start = {**start, "status": replaced.status_code, "headers": [*replaced.raw_headers]}
            self.body = bytes(replaced.body)
        elif not self.body.startswith(b'{"error":{"code":'):
            allow = next((v.decode("latin-1") for k, v in start["headers"] if k.lower() == b"allow"), "")
            known = () if "endpoint" in self.scope else self.known  # a path that has a route is not mistyped
            detail = detail_of_status(
                start["status"], self.scope["method"], self.scope["path"], allow=allow, known=known
            )
            replaced = error_of(start["status"], detail)
            self.call.code = detail.code
            kept = [(k, v) for k, v in start["headers"] if k.lower() in (b"retry-after", b"allow", b"server")]
            start = {**start, "headers": [*replaced.raw_headers, *kept]}
            self.body = bytes(replaced.body)
        await self._start(start)
        self.call.sent += len(self.body)
        await self.send({"type": "http.response.body", "body": self.body})

    async def fail(self, receive: Receive, response: Response) -> None:
        """Send an error of the guard itself, if nothing has been sent yet."""
        if not self.began:
            self.held, self.body = None, b""
            await response(self.scope, receive, self)
