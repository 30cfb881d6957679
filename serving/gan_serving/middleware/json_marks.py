"""How much a JSON text may become in memory, told by counting before it is parsed.

A short text can be a lot of objects: 16 MiB of `[0],` are a gigabyte of lists, and seconds in which nothing else of the
process runs, for the parsers hold the interpreter's lock.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from gan_serving.errors import InvalidRequestError

AT_ONCE: Final = 2**16
"""Bytes of a body that are parsed in the event loop; a longer one would hold up the others."""
SPARE: Final = 1024
"""Marks beside those of a request's values: of its fields, its names, its parameters."""


def check_marks(text: bytes, limits: Mapping[bytes, int], advice: str) -> None:
    """Raises InvalidRequestError if a text has more of a mark than any request needs.

    Args:
        text: JSON.
        limits: how many of each mark there may be; those in strings count, too.
        advice: what the caller may do.
    """
    for mark, limit in limits.items():
        if (count := text.count(mark)) > limit:
            raise InvalidRequestError(
                f"the JSON has {count} {mark.decode()!r}, more than any request here needs ({limit}); {advice}"
            )
