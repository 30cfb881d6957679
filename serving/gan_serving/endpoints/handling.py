"""What POST /generate, /interpolate and /latents have in common: the body, the caller, and errors as answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, TypeAlias, TypeVar

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive

from gan_serving.errors import CallerLeftError, ServiceError
from gan_serving.middleware.error_response import error_response
from gan_serving.middleware.json_marks import AT_ONCE, SPARE, check_marks
from gan_serving.middleware.rate_limit import caller_of
from gan_serving.worker.state import Worker, worker_of

_T = TypeVar("_T")

_NAMES: Final = 64  # values of one image that there is room for at least: a class name may have many commas, and colons


@dataclass(slots=True)
class RequestContext:
    """A request whose body is there, and what it is answered with."""

    worker: Worker
    body: bytes
    headers: Headers
    receive: Receive  # tells when the caller hangs up
    caller: str  # whose rate limit counts


AnswerFn: TypeAlias = Callable[[RequestContext], Awaitable[Response]]


async def answered(request: Request, answer: AnswerFn) -> Response:
    """The answer to a request, or its refusal."""
    try:
        body = await request.body()
        worker, caller = worker_of(request), caller_of(request.scope)
        return await answer(RequestContext(worker, body, request.headers, request.receive, caller))
    except CallerLeftError:
        raise  # the guard's: nobody reads an answer
    except ServiceError as error:
        return error_response(error)


async def parsed(context: RequestContext, parse: Callable[[bytes], _T]) -> _T:
    """What a body asks for; one longer than AT_ONCE is parsed in another thread, if it can be a request at all.

    Args:
        context: with the body, which is JSON.
        parse: takes the body.

    Raises:
        InvalidRequestError: as `parse`, or the body has more values than a request here can have.
    """
    worker, body = context.worker, context.body
    if len(body) <= AT_ONCE:
        return parse(body)
    most = worker.settings.max_n
    rows = most + SPARE
    values = most * max(worker.catalog.widest, _NAMES) + SPARE
    limits = {b"{": rows, b"[": rows, b":": most * _NAMES + SPARE, b",": values}

    def work() -> _T:
        check_marks(body, limits, "send fewer images")
        return parse(body)

    return await worker.in_parsers(work)


async def planned(context: RequestContext, plan: Callable[[], _T]) -> _T:
    """What `plan` makes of a parsed body; of one longer than AT_ONCE in another thread, as it was parsed there.

    What belongs to the event loop, such as the catalog, is asked between the two.
    """
    return plan() if len(context.body) <= AT_ONCE else await context.worker.in_parsers(plan)
