"""What a batcher tells of its work."""

from __future__ import annotations

from typing import Protocol


class Recorder(Protocol):
    """Is told what happens, in images."""

    def queued(self, waiting: int) -> None:
        """So many images wait now."""

    def started(self, waited: float) -> None:
        """A request's first image left the queue after `waited` seconds."""

    def ran(self, images: int, seconds: float) -> None:
        """One run of the session."""

    def failed(self, images: int) -> None:
        """Images that could not be generated."""

    def dropped(self, images: int) -> None:
        """Images that left the queue uncomputed."""


class NullRecorder:
    """Keeps nothing of it."""

    def queued(self, waiting: int) -> None: ...
    def started(self, waited: float) -> None: ...
    def ran(self, images: int, seconds: float) -> None: ...
    def failed(self, images: int) -> None: ...
    def dropped(self, images: int) -> None: ...
