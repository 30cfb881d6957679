"""Finished responses by their ETag, for services that are asked for the same images again and again."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from gan_serving.formats.encode import Encoded

ENTRY_BYTES: Final = 320
"""What a response takes in memory beside its body: 277 to 288 bytes measured, and room for a table that has grown."""


class ResponseCache:
    """The responses used last, as many as fit.

    Args:
        capacity: bytes of memory; 0 keeps nothing.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._size = 0  # bytes
        self._kept: OrderedDict[str, Encoded] = OrderedDict()  # the longest unused first

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, etag: str) -> Encoded | None:
        """The response of this tag, if it is still here."""
        found = self._kept.get(etag)
        if found is not None:
            self._kept.move_to_end(etag)
        return found

    def put(self, etag: str, response: Encoded) -> None:
        """Keep a response; the longest unused ones go when it would be too much."""
        if _size(response) > self.capacity:
            return
        replaced = self._kept.pop(etag, None)
        self._size += _size(response) - (_size(replaced) if replaced else 0)
        self._kept[etag] = response
        while self._size > self.capacity:
            _, dropped = self._kept.popitem(last=False)
            self._size -= _size(dropped)


def _size(response: Encoded) -> int:
    return len(response.body) + ENTRY_BYTES
