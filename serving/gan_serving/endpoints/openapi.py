"""GET /docs.json: the interface as an OpenAPI 3.1 document, made from the wire types and the error classes.

BentoML makes such a page too, but it knows neither our errors nor more than the first type of a field.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from importlib.metadata import version
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from gan_client.types import (
    ErrorBody,
    GenerateRequest,
    GenerateResponse,
    InterpolateRequest,
    LatentsRequest,
    LatentsResponse,
    ModelDetail,
    ModelList,
    ReloadReport,
    StreamDone,
    StreamedImage,
    StreamError,
)
from gan_serving.errors import (
    BodyTooLargeError,
    DeadlineError,
    ForeignPageError,
    GenerationError,
    HeadersTooLargeError,
    InvalidRequestError,
    NotReadyError,
    QueueFullError,
    RateLimitedError,
    RequestTimeoutError,
    ServiceError,
    TooManyConnectionsError,
    UnauthorizedError,
    UnknownModelError,
)
from gan_serving.middleware.guard import REQUEST_ID_HEADER, TIMEOUT_HEADER
from gan_serving.requests.query import PARAMETERS
from gan_serving.settings import Settings
from gan_serving.worker.state import worker_of

_Schema = dict[str, Any]

_TYPES: Final[tuple[type[BaseModel], ...]] = (
    GenerateRequest, InterpolateRequest, LatentsRequest, GenerateResponse, LatentsResponse, StreamedImage, StreamDone,
    StreamError, ModelList, ModelDetail, ReloadReport, ErrorBody,
)  # fmt: skip
_ALWAYS: Final[tuple[type[ServiceError], ...]] = (
    InvalidRequestError, UnauthorizedError, RequestTimeoutError, BodyTooLargeError, RateLimitedError,
    HeadersTooLargeError, ServiceError, NotReadyError, TooManyConnectionsError, DeadlineError,
)  # fmt: skip
"""What the guard may answer to any call."""
_TO_A_POST: Final = (ForeignPageError,)
"""What else the guard may answer to a call that changes something."""
_OF_A_MODEL: Final = (UnknownModelError,)
"""What else may be answered where a generator is named."""
_OF_IMAGES: Final = (*_TO_A_POST, *_OF_A_MODEL, QueueFullError, GenerationError)
"""What else may be answered where images are made."""
_INTERNAL: Final = "A fault of the service; its log has the request's id."
_UNCHANGED: Final[_Schema] = {"304": {"description": "The ETag of If-None-Match is still the response's."}}
_BINARY: Final[_Schema] = {"type": "string", "contentMediaType": "application/octet-stream"}


async def show_docs(request: Request) -> Response:
    """GET /docs.json."""
    return JSONResponse(document(worker_of(request).settings))


@lru_cache
def document(settings: Settings) -> _Schema:
    """The OpenAPI document of a service with these settings."""
    _, schemas = models_json_schema([(model, "validation") for model in _TYPES], ref_template=_REF + "{model}")
    definitions = schemas["$defs"]
    definitions["GenerateRequest"]["properties"]["n"]["anyOf"][0]["maximum"] = settings.max_n
    definitions["LatentsRequest"]["properties"]["seeds"]["maxItems"] = settings.max_n
    # What pydantic's schema can't say: key points are given, one way or the other.
    definitions["InterpolateRequest"]["anyOf"] = [
        {"required": [given], "properties": {given: {"type": "array"}}} for given in ("seeds", "latents")
    ]
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Ganworks",
            "version": version("ganworks"),
            "description": "Images from certified GAN generators. One seed is one image, to the byte. "
            "The Open Inference Protocol is served under /v2. "
            f"Any request may say in {TIMEOUT_HEADER} how many seconds its caller waits.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": _paths(definitions["GenerateRequest"]["properties"]),
        "components": {
            "schemas": definitions,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            },
        },
        "security": [{}, {"bearer": []}, {"header": []}],
    }


def _paths(fields: _Schema) -> _Schema:
    return {
        **_image_paths({name: _one_value(fields[name]) for name in PARAMETERS}),
        **_model_paths(),
        **_process_paths(),
    }


def _one_value(field: _Schema) -> _Schema:
    """What a query may say of a field; a label is a class's name or id."""
    kinds = [kind for kind in field["anyOf"] if kind["type"] not in ("array", "null")]
    return {**kinds[-1], "description": field["description"].replace("for all images, or a list of n", "of all images")}


def _image_paths(fields: _Schema) -> _Schema:
    json_or_picture = {
        "application/json": _ref("GenerateResponse"),
        "image/png": _BINARY, "image/webp": _BINARY, "image/jpeg": _BINARY,
        "application/x-npy": _BINARY, "application/zip": _BINARY,
        "application/x-ndjson": {"anyOf": [_ref(name) for name in ("StreamedImage", "StreamDone", "StreamError")]},
    }  # fmt: skip
    animations = {"image/gif": _BINARY, "image/webp": _BINARY, "image/png": _BINARY, "application/x-npy": _BINARY}
    return {
        "/generate": {
            "get": _call(
                "draw", "The same images under an address, as of an <img>.", json_or_picture, _OF_IMAGES,
                extra=_UNCHANGED, headers=("If-None-Match",), query=fields,
            ),
            "post": _call(
                "generate", "Images from seeds or latents.", json_or_picture, _OF_IMAGES,
                body="GenerateRequest", extra=_UNCHANGED, headers=("If-None-Match",),
            )
        },
        "/interpolate": {
            "post": _call(
                "interpolate", "A path through latent space, as an animation, a sheet or an array.", animations,
                _OF_IMAGES, body="InterpolateRequest",
            )
        },
        "/latents": {
            "post": _call(
                "latents", "The latents that seeds stand for.", {"application/json": _ref("LatentsResponse")},
                (*_TO_A_POST, *_OF_A_MODEL), body="LatentsRequest", body_required=True,
            )
        },
    }  # fmt: skip


def _model_paths() -> _Schema:
    name = {"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}
    return {
        "/models": {"get": _call("list_models", "The generators.", {"application/json": _ref("ModelList")})},
        "/models/reload": {
            "post": _call(
                "reload_models", "Look for new artifacts now.", {"application/json": _ref("ReloadReport")}, _TO_A_POST
            )
        },
        "/models/{name}": {
            "parameters": [name],
            "get": _call(
                "show_model", "A generator's manifest and certificate.", {"application/json": _ref("ModelDetail")},
                _OF_A_MODEL,
            ),
        },
        "/models/{name}/preview.png": {
            "parameters": [name],
            "get": _call(
                "show_preview", "Fixed seeds of every class.", {"image/png": _BINARY}, _OF_A_MODEL,
                extra=_UNCHANGED, headers=("If-None-Match",),
            ),
        },
        "/models/{name}/pictures/{picture}": {
            "parameters": [name, name | {"name": "picture"}],
            "get": _call(
                "show_picture", "A picture that the model card shows, by its file's name.", {"image/png": _BINARY},
                _OF_A_MODEL, extra=_UNCHANGED, headers=("If-None-Match",),
            ),
        },
        "/models/{name}/card": {
            "parameters": [name],
            "get": _call("show_card", "The model card.", {"text/markdown": {"type": "string"}}, _OF_A_MODEL),
        },
    }  # fmt: skip


def _process_paths() -> _Schema:
    return {
        "/livez": {"get": _call("livez", "The process lives.", {"text/plain": {"type": "string"}})},
        "/readyz": {"get": _call("readyz", "Requests for images are taken.", {"text/plain": {"type": "string"}})},
        "/metrics": {
            "get": _call("metrics", "Prometheus' text format.", {"text/plain": {"type": "string"}})
        },
    }  # fmt: skip


def _call(
    operation: str,
    summary: str,
    content: _Schema,
    errors: tuple[type[ServiceError], ...] = (),
    *,
    body: str | None = None,
    body_required: bool = False,
    extra: _Schema | None = None,
    headers: tuple[str, ...] = (),
    query: _Schema | None = None,
) -> _Schema:
    asked = [_optional(name, "header", {"type": "string"}) for name in (*headers, REQUEST_ID_HEADER)]
    asked += [_optional(name, "query", schema) for name, schema in (query or {}).items()]
    call: _Schema = {
        "operationId": operation,
        "summary": summary,
        "parameters": asked,
        "responses": {
            "200": {"description": "As asked.", "content": {kind: {"schema": one} for kind, one in content.items()}},
            **(extra or {}),
            **_refusals((*_ALWAYS, *errors)),
        },
    }
    if body is not None:
        call["requestBody"] = {
            "required": body_required,
            "content": {"application/json": {"schema": _ref(body)}},
        }
    return call


def _refusals(errors: Iterable[type[ServiceError]]) -> _Schema:
    """By their status, which several errors may have."""
    described: dict[str, list[str]] = {}
    for error in errors:
        described.setdefault(str(error.status), []).append(_described(error))
    content = {"application/json": {"schema": _ref("ErrorBody")}}
    return {status: {"description": " ".join(all_), "content": content} for status, all_ in described.items()}


def _described(error: type[ServiceError]) -> str:
    said = _INTERNAL if error is ServiceError else (error.__doc__ or "").strip().splitlines()[0]
    return f"`{error.code}`: {said}"


def _optional(name: str, place: str, schema: _Schema) -> _Schema:
    return {"name": name, "in": place, "required": False, "schema": schema}


def _ref(name: str) -> _Schema:
    return {"$ref": _REF + name}


_REF: Final = "#/components/schemas/"
ROUTES: Final = (Route("/docs.json", show_docs),)
