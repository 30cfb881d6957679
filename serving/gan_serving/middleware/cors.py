"""Which web pages of other origins may call the service from a browser. None, unless they are listed."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Final

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp

from gan_client.types import ErrorBody, ErrorDetail
from gan_serving.call import new_request_id
from gan_serving.messages import show
from gan_serving.settings import Settings, SettingsError

METHODS: Final = ("GET", "HEAD", "POST")
ALLOWED_HEADERS: Final = (
    "Authorization", "Content-Type", "If-None-Match", "Inference-Header-Content-Length", "X-API-Key", "X-Request-ID",
    "X-Request-Timeout",
)  # fmt: skip
EXPOSED_HEADERS: Final = (
    "ETag", "Inference-Header-Content-Length", "Retry-After", "X-Gan-Artifact", "X-Gan-Frames", "X-Gan-Model",
    "X-Gan-Seed", "X-Request-ID",
)  # fmt: skip
MAX_AGE: Final = 600
"""Seconds for which a browser may remember the answer to its preflight."""
_PRIVATE: Final = b"access-control-request-private-network"
"""A page from the Internet asks for a service in the visitor's own network; whom GAN_CORS_ORIGINS lists may."""
_ORIGIN: Final = re.compile(r"[a-z][a-z0-9+.-]*://([a-z0-9._~-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?")


class _CORS(CORSMiddleware):
    """Starlette's, whose refusals have our shape."""

    def preflight_response(self, request_headers: Headers) -> Response:
        # Not all versions of Starlette know this header, and the others have a switch for it.
        known = [(name, value) for name, value in request_headers.raw if name != _PRIVATE]
        response = super().preflight_response(Headers(raw=known))
        if response.status_code < HTTPStatus.BAD_REQUEST:
            if len(known) < len(request_headers.raw):
                response.headers["Access-Control-Allow-Private-Network"] = "true"
            return response
        request_id = new_request_id()
        detail = ErrorDetail(code="cors", message=self._complaint(request_headers))
        headers = {k: v for k, v in response.headers.items() if k not in ("content-length", "content-type")}
        body = ErrorBody(error=detail, request_id=request_id).model_dump_json()
        return Response(body, response.status_code, headers | {"X-Request-ID": request_id}, "application/json")

    def _complaint(self, preflight: Headers) -> str:
        """What it asks for and may not have."""
        origin, method = preflight.get("origin", ""), preflight.get("access-control-request-method", "")
        if not self.is_allowed_origin(origin):
            return f"pages of the origin {show(origin)} may not call; GAN_CORS_ORIGINS lists those that may"
        if method not in METHODS:
            return f"pages may not call with the method {show(method)}, but with {', '.join(METHODS)}"
        wanted = preflight.get("access-control-request-headers", "")
        return f"pages may send of the headers {show(wanted)} only {', '.join(ALLOWED_HEADERS)}, and what all may"


def with_cors(app: ASGIApp, settings: Settings) -> ASGIApp:
    """The application, which also answers browsers' preflights; it has to be around everything that may refuse.

    Raises:
        SettingsError: an origin of GAN_CORS_ORIGINS is none.
    """
    origins = allowed_origins(settings)
    if not origins:
        return app
    return _CORS(
        app,
        allow_origins=origins,
        allow_methods=METHODS,
        allow_headers=ALLOWED_HEADERS,
        expose_headers=EXPOSED_HEADERS,
        max_age=MAX_AGE,
    )


def allowed_origins(settings: Settings) -> list[str]:
    """What GAN_CORS_ORIGINS lists.

    Raises:
        SettingsError: one of them is no origin, so that no browser would ever send it.
    """
    origins = [part.strip() for part in (settings.cors_origins or "").split(",") if part.strip()]
    for origin in origins:
        if origin != "*" and not _ORIGIN.fullmatch(origin):
            raise SettingsError(
                f"GAN_CORS_ORIGINS has {origin!r}; an origin is scheme://host or scheme://host:port in lower case, "
                "without a path, or '*' for every one"
            )
    return origins
