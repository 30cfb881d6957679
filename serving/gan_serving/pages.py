"""GET /models and GET /models/{name}."""

from __future__ import annotations

from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from gan_client.types import ModelList

from .desk import desk_of
from .errors import UnknownModelError
from .guard import error_response


async def list_models(request: Request) -> Response:
    """GET /models."""
    models = desk_of(request).catalog.list()
    return Response(ModelList(models=models).model_dump_json(), media_type="application/json")


async def show_model(request: Request) -> Response:
    """GET /models/{name}: the whole manifest, and `certificate`, the whole certificate."""
    try:
        generator = desk_of(request).catalog.get(request.path_params["name"])
    except UnknownModelError as error:
        return error_response(error)
    content = generator.manifest.model_dump(mode="json")
    return JSONResponse(content | {"certificate": generator.certificate.model_dump(mode="json")})


ROUTES: Final = (Route("/models", list_models), Route("/models/{name}", show_model))
