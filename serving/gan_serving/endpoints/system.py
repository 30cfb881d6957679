"""What machines ask a worker: whether it is ready, and its metrics."""

from __future__ import annotations

import asyncio
from typing import Final

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from gan_serving.errors import NotReadyError
from gan_serving.middleware.error_response import error_response
from gan_serving.worker.state import worker_of


async def ready(request: Request) -> Response:
    """GET /readyz: whether this worker takes requests for images."""
    try:
        worker_of(request).check_ready()
    except NotReadyError as error:
        return error_response(error)
    return PlainTextResponse("\n")


async def show_metrics(request: Request) -> Response:
    """GET /metrics, in Prometheus' text format."""
    # It reads a file of every worker.
    text, media_type = await asyncio.to_thread(worker_of(request).metrics.page)
    return Response(text, media_type=media_type)


ROUTES: Final = (Route("/readyz", ready), Route("/metrics", show_metrics))
