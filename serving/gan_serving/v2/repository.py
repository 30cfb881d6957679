"""POST /v2/repository/...: which generators there are, and loading and unloading them."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from gan_serving.errors import InvalidRequestError
from gan_serving.messages import show
from gan_serving.worker.state import worker_of

from .answer import json_response
from .wire import an_object, parse_object


async def index(request: Request) -> Response:
    """POST /v2/repository/index: all generators, or with `{"ready": true}` those that are loaded."""
    content = await _content(request, "ready")
    only_ready = content.get("ready", False)
    if not isinstance(only_ready, bool):
        raise InvalidRequestError(f"ready is {show(only_ready)}; it must be true or false", "ready")
    states = worker_of(request).catalog.states()
    return json_response(
        [
            {"name": each.name, "version": each.version, "state": each.state, "reason": each.reason}
            for each in states
            if each.state == "READY" or not only_ready
        ]
    )


async def load(request: Request) -> Response:
    """POST /v2/repository/models/{name}/load: load it, or load it again from where it was found."""
    parameters = _parameters(await _content(request, "parameters"))
    for key in parameters:
        raise InvalidRequestError(
            f"load takes no parameter {show(key)} here: an artifact is loaded as it is in its folder", "parameters"
        )
    await worker_of(request).catalog.load(request.path_params["name"])
    return Response()


async def unload(request: Request) -> Response:
    """POST /v2/repository/models/{name}/unload."""
    parameters = _parameters(await _content(request, "parameters"))
    for key in parameters:
        if key != "unload_dependents":  # of which a generator has none, so that either value does
            raise InvalidRequestError(
                f"unknown parameter {show(key)} of unload; expected unload_dependents", "parameters"
            )
    await worker_of(request).catalog.unload(request.path_params["name"])
    return Response()


def _parameters(content: dict[str, Any]) -> dict[str, Any]:
    return an_object(content.get("parameters", {}), "parameters")


async def _content(request: Request, field: str) -> dict[str, Any]:
    """The body's object, which may have this one field; an empty body is `{}`."""
    content = parse_object(await request.body() or b"{}")
    for key in content:
        if key != field:
            raise InvalidRequestError(f"unknown field {show(key)}; expected {field}")
    return content
