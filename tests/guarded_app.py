"""An application with every kind of fault, behind the guard."""

import asyncio
import errno
from collections.abc import AsyncIterator

from guarding import guard_of
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from gan_serving.errors import InvalidRequestError, QueueFullError
from gan_serving.middleware.error_response import error_response

MAX_BODY = 1000  # bytes
TIMEOUT = 0.2  # seconds, for what is meant to be late
PATIENCE = 30.0  # seconds, for what is not


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
