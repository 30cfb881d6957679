"""The one shape of errors, with the id of the request that has them."""

from __future__ import annotations

import logging
from collections.abc import Collection
from http import HTTPStatus
from http.client import responses
from typing import Final
from urllib.parse import quote

from starlette.responses import Response

from gan_client.types import ErrorBody, ErrorDetail
from gan_serving.call import current_call
from gan_serving.errors import DeadlineError, NotReadyError, QueueFullError, ServiceError
from gan_serving.messages import nearest

logger = logging.getLogger("bentoml.ganworks")

_SHOWN_PATH: Final = 200  # characters
_OWN: Final = {error.status: error.code for error in (QueueFullError, NotReadyError, DeadlineError)}
"""Codes of statuses that others answer with too; the rest have their phrase."""


def error_response(error: ServiceError) -> Response:
    """The error in its one shape, with the current request's id."""
    current_call().code = error.code
    return error_of(error.status, error.detail(), error.headers)


def detail_of_status(
    status: int, method: str, path: str, *, allow: str = "", known: Collection[str] = ()
) -> ErrorDetail:
    """What to say of an error that is not the service's own, but Starlette's router's or BentoML's.

    Args:
        status: of its response, 400 or more.
        method: of the request.
        path: of the request, unquoted.
        allow: the response's header of that name: the methods that the path has.
        known: the paths that there are.
    """
    shown = quote(path)[:_SHOWN_PATH]
    message = phrase = responses.get(status, "error").lower()
    if status == HTTPStatus.NOT_FOUND:
        near = nearest(path, known)
        message = f"there is no {shown}" + (f"; the nearest path is {near}" if near else "")
    elif status == HTTPStatus.METHOD_NOT_ALLOWED:
        usable = sorted({one.strip() for one in allow.split(",")} - {"", "HEAD"})
        message = f"{shown} can't be called with {method}" + (f"; use {' or '.join(usable)}" if usable else "")
    return ErrorDetail(code=_OWN.get(status, phrase.replace(" ", "_")), message=message)


def internal_error() -> ErrorDetail:
    """What a caller is told of a fault of the service, which stands in its log."""
    return ErrorDetail(code="internal", message="the service failed; its log has this request's id")


def tell_cut_off(error: ServiceError) -> None:
    """Log the error that ends the current request's response, which has begun."""
    logger.error(
        "request %s was cut off after its response had begun: [%s] %s",
        current_call().request_id, error.code, error.message,
    )  # fmt: skip


def cut_off(error: Exception) -> ErrorDetail:
    """What to say of the error that ends the current request's response, where that can still be said; it is logged."""
    call = current_call()
    if isinstance(error, ServiceError):
        call.code = error.code
        tell_cut_off(error)
        return error.detail()
    call.code = "internal"
    logger.error("request %s failed after its response had begun", call.request_id, exc_info=error)
    return internal_error()


def error_of(status: int, detail: ErrorDetail, headers: dict[str, str] | None = None) -> Response:
    """The one shape of an error, with the current request's id."""
    body = ErrorBody(error=detail, request_id=current_call().request_id)
    return Response(body.model_dump_json(), status, headers, media_type="application/json")
