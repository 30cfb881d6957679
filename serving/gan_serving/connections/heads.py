"""The head of a request: its size, and what HTTP demands of it beyond what the parser looks at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeAlias

from .until_closed import HTTP_1_0

RawHeaders: TypeAlias = Sequence[tuple[bytes, bytes]]
"""Names, in lower case, and values."""

HEADER_FRAME: Final = len(": \r\n")
_REQUEST_FRAME: Final = len("  HTTP/1.1\r\n\r\n")
_HOST: Final = b"host"


def size_of(method: bytes, url: bytes, headers: RawHeaders) -> int:
    """Bytes of a request line and headers."""
    lines = sum(len(name) + len(value) + HEADER_FRAME for name, value in headers)
    return len(method) + len(url) + _REQUEST_FRAME + lines


def host_problem(headers: RawHeaders, http_version: str) -> str | None:
    """What is wrong with the Host of a request, in one line; None: nothing.

    A server must refuse more than one, and none in HTTP/1.1 (RFC 9112, 3.2): a proxy in front may have gone by another
    one than what is behind it.
    """
    hosts = [name for name, _ in headers].count(_HOST)
    if hosts == 1 or (hosts == 0 and http_version == HTTP_1_0):
        return None
    return f"the request has {hosts or 'no'} Host {'headers' if hosts else 'header'}; HTTP/1.1 has exactly one"
