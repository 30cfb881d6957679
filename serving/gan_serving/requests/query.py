"""GET /generate: a query string as the body that a POST would have, so that an image has an address."""

from __future__ import annotations

import json
import re
from typing import Final
from urllib.parse import parse_qsl

from gan_client.types import GenerateRequest
from gan_serving.errors import InvalidRequestError
from gan_serving.messages import SHOWN, show

PARAMETERS: Final = tuple(name for name in GenerateRequest.model_fields if name not in ("seeds", "latents"))
"""Fields with one value."""
_NUMBERS: Final = frozenset({"n", "seed", "truncation", "columns", "quality"})
_NUMBER: Final = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")  # as JSON has them


def body_of(query: bytes) -> bytes:
    """The JSON of a GenerateRequest that a query string stands for; whether its values are allowed is not looked at.

    A label stays text: a class's name, or else its id.

    Raises:
        InvalidRequestError: a parameter is unknown, or is given twice.
    """
    fields: dict[str, str] = {}
    for name, value in parse_qsl(query.decode("utf-8", "replace"), keep_blank_values=True):
        if name not in PARAMETERS:
            raise InvalidRequestError(
                f"unknown parameter {show(name)}; GET takes {', '.join(PARAMETERS)}, and lists are for POST",
                name[:SHOWN],
            )
        if name in fields:
            raise InvalidRequestError(f"{name} is given twice; GET takes one value, and lists are for POST", name)
        fields[name] = value if name in _NUMBERS and _NUMBER.fullmatch(value) else json.dumps(value)
    return f"{{{', '.join(f'{json.dumps(name)}: {value}' for name, value in fields.items())}}}".encode()
