"""What a connection is told that is refused before the guard sees a request of it.

A request under /v2 gets its error in the protocol's shape (middleware/v2_errors.py), if its address has come by then.
"""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus

from starlette.responses import Response

from gan_client.types import ErrorBody
from gan_serving.call import new_request_id
from gan_serving.errors import ServiceError
from gan_serving.middleware.v2_errors import flat, is_protocols


def refusal(error: ServiceError, url: bytes) -> Response:
    """The error in its one shape, or in the protocol's; it closes the connection.

    Args:
        error: what is wrong.
        url: of the request, as far as it has come.
    """
    request_id = new_request_id()
    body = ErrorBody(error=error.detail(), request_id=request_id).model_dump_json().encode()
    if is_protocols(url.partition(b"?")[0].decode("latin-1")):
        body = flat(body)
    headers = {**error.headers, "X-Request-ID": request_id, "Connection": "close"}
    return Response(body, error.status, headers, "application/json")


def on_the_wire(response: Response, further_headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The response's bytes in HTTP/1.1."""
    status = HTTPStatus(response.status_code)
    headers = [*further_headers, *response.raw_headers]
    head = [f"HTTP/1.1 {status.value} {status.phrase}".encode(), *(name + b": " + value for name, value in headers)]
    return b"\r\n".join([*head, b"", bytes(response.body)])
