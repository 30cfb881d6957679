"""What all formats of several images are: bytes made part by part, and all at once by the same code."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from .batch import Batch


class BodyFormat(ABC):
    """A response body in the making: `begin`, then `feed` for each part in order, then `end`.

    How the images are cut into parts makes no difference to the bytes.
    """

    media_type: ClassVar[str]

    def __init__(self, model: str) -> None:
        self.model = model
        self.total = 0  # images of the whole request
        self.fed = 0  # images so far

    def begin(self, total: int) -> bytes:
        """What comes before the images; `total` is their number, at least 1."""
        self.total = total
        return b""

    def feed(self, part: Batch) -> bytes:
        """The bytes of the next images."""
        content = self._encode(part)
        self.fed += len(part)
        return content

    def end(self) -> bytes:
        """What comes after the last image."""
        return b""

    def whole(self, batch: Batch) -> bytes:
        """The body of a request that is one part."""
        return b"".join((self.begin(len(batch)), self.feed(batch), self.end()))

    @property
    def kept(self) -> int:
        """Bytes of what was fed that `end` has yet to work on."""
        return 0

    @abstractmethod
    def _encode(self, part: Batch) -> bytes: ...
