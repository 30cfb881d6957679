"""Connections above GAN_MAX_CONNECTIONS: a probe among them is answered, and so is a scrape of the metrics.

A worker that has all the connections it takes is busy, not ill: an orchestrator that was told no would restart it. So
what is over the limit may say what it asks for, and is refused unless that is one of `probes.UNCOUNTED`.
"""

from __future__ import annotations

from typing import Final, Protocol

from gan_serving.probes import UNCOUNTED

MOST: Final = 64
"""Connections over the limit that are open at once; one more, and the oldest is turned away."""
SECONDS: Final = 1.0
"""Within which their headers must be complete; a probe sends them at once."""
_TARGETS: Final = frozenset(path.encode() for path in UNCOUNTED)


class Spare(Protocol):
    """A connection over the limit."""

    def turn_away(self) -> None:
        """Refuse it and close it, now."""


class Overflow:
    """The connections of one worker that are over the limit."""

    def __init__(self) -> None:
        self._open: dict[Spare, None] = {}  # the oldest first

    def add(self, connection: Spare) -> None:
        """Let another one in, in the place of the oldest if there are MOST."""
        if len(self._open) >= MOST:
            oldest = next(iter(self._open))
            del self._open[oldest]
            oldest.turn_away()
        self._open[connection] = None

    def discard(self, connection: Spare) -> None:
        """It is closed, or never was one of them."""
        self._open.pop(connection, None)


def is_answered(method: bytes, target: bytes) -> bool:
    """Whether a request is answered on a connection over the limit.

    Args:
        method: as in the request line.
        target: the same, with or without a query.
    """
    return method in (b"GET", b"HEAD") and target.partition(b"?")[0] in _TARGETS
