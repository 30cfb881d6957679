"""What POST /generate, /interpolate and /latents have in common: the body, the caller, and errors as answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias, TypeVar

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive

from .error_response import error_response
from .errors import CallerLeftError, ServiceError
from .json_marks import SPARE, check_marks
from .rate_limit import caller_of
from .worker import Worker, worker_of

_T = TypeVar("_T")

_NAMES: Final = 64  # values of one image that there is room for at least: a class name may have many commas, and colons

AnswerFn: TypeAlias = Callable[[Worker, bytes, Headers, Receive, str], Awaitable[Response]]
"""Takes the worker, the body, the headers, what tells that the caller hangs up, and whose rate limit counts."""


async def answered(request: Request, answer: AnswerFn) -> Response:
    """The answer to a request, or its refusal."""
    try:
        body = await request.body()
        return await answer(worker_of(request), body, request.headers, request.receive, caller_of(request.scope))
    except CallerLeftError:
        raise  # the guard's: nobody reads an answer
    except ServiceError as error:
        return error_response(error)


async def parsed_aside(worker: Worker, body: bytes, parse: Callable[[bytes, int], _T]) -> _T:
    """A request whose body is longer than AT_ONCE, parsed in another thread, if it can be one at all.

    Args:
        worker: that got the request.
        body: JSON.
        parse: takes the body and the largest number of images.

    Raises:
        InvalidRequestError: as `parse`, or the body has more values than a request here can have.
    """
    most = worker.settings.max_n
    rows = most + SPARE
    values = most * max(worker.catalog.widest, _NAMES) + SPARE
    limits = {b"{": rows, b"[": rows, b":": most * _NAMES + SPARE, b",": values}

    def work() -> _T:
        check_marks(body, limits, "send fewer images")
        return parse(body, most)

    return await worker.in_encoders(work)
