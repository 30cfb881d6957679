"""GET /models, what is below it, and POST /models/reload."""

from __future__ import annotations

from typing import Final

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from gan_client.types import ModelDetail, ModelList
from gan_export.artifact import PREVIEW_FILE
from gan_serving.errors import ServiceError, UnknownModelError
from gan_serving.messages import show
from gan_serving.middleware.error_response import error_response
from gan_serving.models.generator import Generator
from gan_serving.worker.state import worker_of

from .etag import matches

_AS_IS: Final = {"X-Content-Type-Options": "nosniff"}  # an artifact's own files are shown as what they are said to be


async def list_models(request: Request) -> Response:
    """GET /models."""
    models = worker_of(request).catalog.list()
    return Response(ModelList(models=models).model_dump_json(), media_type="application/json")


async def show_model(request: Request) -> Response:
    """GET /models/{name}: the whole manifest and certificate, and what is running."""
    try:
        generator = _generator_of(request)
    except ServiceError as error:
        return error_response(error)
    reason = worker_of(request).catalog.reason_of(generator.manifest.name)
    detail = ModelDetail.model_validate(generator.describe(reason))
    return Response(detail.model_dump_json(), media_type="application/json")


async def show_preview(request: Request) -> Response:
    """GET /models/{name}/preview.png: the contact sheet that was drawn at export."""
    return _shown(request, PREVIEW_FILE)


async def show_picture(request: Request) -> Response:
    """GET /models/{name}/pictures/{picture}: one that the card shows."""
    return _shown(request, request.path_params["picture"])


def _shown(request: Request, file: str) -> Response:
    try:
        generator = _generator_of(request)
        name, pictures = generator.manifest.name, generator.pages.pictures
        if file not in pictures:
            there = f"it has {', '.join(pictures)}" if pictures else "export it again"
            raise UnknownModelError(f"model {name!r} has no picture {show(file)}; {there}", "model")
    except ServiceError as error:
        return error_response(error)
    picture = pictures[file]
    headers = {"ETag": picture.etag, "Cache-Control": "no-cache", **_AS_IS}
    if matches(picture.etag, request.headers.get("if-none-match")):
        return Response(status_code=304, headers=headers)
    return Response(picture.content, headers=headers, media_type="image/png")


async def show_card(request: Request) -> Response:
    """GET /models/{name}/card: the model card."""
    try:
        generator = _generator_of(request)
        if generator.pages.card is None:
            raise UnknownModelError(f"model {generator.manifest.name!r} has no card; export it again", "model")
    except ServiceError as error:
        return error_response(error)
    return PlainTextResponse(generator.pages.card, headers=_AS_IS, media_type="text/markdown")


async def reload_models(request: Request) -> Response:
    """POST /models/reload: look for new, changed and removed artifacts now."""
    report = await worker_of(request).catalog.reload()
    return Response(report.model_dump_json(), media_type="application/json")


def _generator_of(request: Request) -> Generator:
    """The generator that the path names; raises ServiceError. The name is looked up in memory, never in a folder."""
    return worker_of(request).catalog.get(request.path_params["name"])


ROUTES: Final = (
    Route("/models", list_models),
    Route("/models/reload", reload_models, methods=["POST"]),
    Route("/models/{name}", show_model),
    Route("/models/{name}/preview.png", show_preview),
    Route("/models/{name}/pictures/{picture}", show_picture),
    Route("/models/{name}/card", show_card),
)
