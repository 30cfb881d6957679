"""What a run rings when it goes wrong."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Alarm:
    """One warning of a run to its owner."""

    step: int  # generator updates done when it rang
    kind: str  # one or two words, e.g. "collapse"
    message: str  # one line: what was measured, the healthy range, what to do
