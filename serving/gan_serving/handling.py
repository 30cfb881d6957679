"""What POST /generate and POST /interpolate have in common: the body, the caller, and errors as answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive

from .error_response import error_response
from .errors import CallerLeftError, ServiceError
from .rate_limit import caller_of
from .worker import Worker, worker_of

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
