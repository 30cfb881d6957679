"""What a connection is told that is refused before the guard sees a request of it."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from http import HTTPStatus

from starlette.responses import Response

from gan_client.types import ErrorBody, ErrorDetail

from .errors import ServiceError


def refusal(error: ServiceError) -> Response:
    """The error in its one shape; it closes the connection."""
    request_id = uuid.uuid4().hex
    detail = ErrorDetail(code=error.code, message=error.message, param=error.param)
    body = ErrorBody(error=detail, request_id=request_id).model_dump_json()
    headers = {**error.headers, "X-Request-ID": request_id, "Connection": "close"}
    return Response(body, error.status, headers, "application/json")


def on_the_wire(response: Response, further_headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The response's bytes in HTTP/1.1."""
    status = HTTPStatus(response.status_code)
    headers = [*further_headers, *response.raw_headers]
    head = [f"HTTP/1.1 {status.value} {status.phrase}".encode(), *(name + b": " + value for name, value in headers)]
    return b"\r\n".join([*head, b"", bytes(response.body)])
