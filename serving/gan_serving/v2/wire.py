"""The body of a request -> its JSON object, and the binary data behind it.

A body is a JSON object and, with the header Inference-Header-Content-Length, the bytes of its binary tensors behind
it. What the header claims, and what the JSON would become in memory, is checked before any of it is made. Pure
functions; they raise InvalidRequestError, BodyTooLargeError (inflate alone) and nothing else.

Source: Open Inference Protocol (KServe), and its binary tensor data extension (Triton).
"""

from __future__ import annotations

import json
import re
import zlib
from typing import Any, Final, NoReturn

from gan_serving.errors import BodyTooLargeError, InvalidRequestError
from gan_serving.messages import show
from gan_serving.middleware.json_marks import SPARE, check_marks

LENGTH_HEADER: Final = "Inference-Header-Content-Length"

_LENGTH: Final = re.compile(r"[0-9]{1,18}")
_OBJECTS: Final = 64  # `{` in a request: a few tensors and their parameters
_ENCODINGS: Final = {"gzip": 16 + zlib.MAX_WBITS, "x-gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}


def inflate(body: bytes, encoding: str, limit: int) -> bytes:
    """The body without its Content-Encoding.

    Args:
        body: as it came.
        encoding: value of the Content-Encoding header: `gzip`, `deflate` (with zlib's header, as HTTP means it),
            `identity` or empty.
        limit: bytes that it may become; no more than that is ever made of it.

    Raises:
        InvalidRequestError: another encoding, or data that is broken, cut off or followed by something else.
        BodyTooLargeError: it would become larger.
    """
    encoding = encoding.strip().lower()
    if encoding in ("", "identity"):
        return body
    if encoding not in _ENCODINGS:
        raise InvalidRequestError(
            f"Content-Encoding is {show(encoding)}; expected gzip, deflate or identity", "Content-Encoding"
        )
    machine = zlib.decompressobj(_ENCODINGS[encoding])
    try:
        plain = machine.decompress(body, limit + 1)
    except zlib.error as error:
        raise InvalidRequestError(f"the body is not valid {encoding} data: {error}", "Content-Encoding") from error
    if len(plain) > limit:
        raise BodyTooLargeError(f"the body inflates to more than the {limit} bytes that are accepted")
    if not machine.eof or machine.unused_data:
        what = "goes on behind its end" if machine.eof else "is cut off"
        raise InvalidRequestError(f"the body's {encoding} data {what}", "Content-Encoding")
    return plain


def split_body(body: bytes, header_length: str | None) -> tuple[bytes, memoryview]:
    """The JSON part of a body and the binary part behind it.

    Args:
        body: the whole, no longer compressed.
        header_length: value of the Inference-Header-Content-Length header; None when absent, then all is JSON.
    """
    if header_length is None:
        return body, memoryview(b"")
    length = int(header_length) if _LENGTH.fullmatch(header_length) else -1
    if not 0 < length <= len(body):
        raise InvalidRequestError(
            f"{LENGTH_HEADER} is {show(header_length)}; it must be the length of the JSON object in bytes, "
            f"from 1 to the body's {len(body)}",
            LENGTH_HEADER,
        )
    return body[:length], memoryview(body)[length:]


def parse_object(text: bytes, *, rows: int = 0, values: int = 0) -> dict[str, Any]:
    """The JSON object of a request.

    Args:
        text: JSON in UTF-8.
        rows: lists that the largest request has.
        values: numbers that the largest request has.
    """
    limits = {b"{": _OBJECTS, b"[": rows + SPARE, b",": values + SPARE}
    check_marks(text, limits, "send fewer images, or tensors as binary data")
    try:
        parsed = json.loads(text.decode(), parse_constant=_refuse_constant)
    except RecursionError:
        raise InvalidRequestError("the JSON is nested too deeply") from None
    except ValueError as error:  # also of bytes that are not UTF-8, and of numbers with thousands of digits
        raise InvalidRequestError(f"the request is not valid JSON: {error}") from error
    return an_object(parsed, "the request")


def an_object(value: object, what: str) -> dict[str, Any]:
    """`value`, which must be a JSON object."""
    if not isinstance(value, dict):
        raise InvalidRequestError(f"{what} is {show(value)}; it must be a JSON object")
    return value


def _refuse_constant(literal: str) -> NoReturn:
    raise ValueError(f"{literal} is no JSON number")
