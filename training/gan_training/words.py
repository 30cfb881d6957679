"""Words of messages: the right plural, and what somebody may have meant."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import SequenceMatcher

_ALIKE = 0.7  # of 1: from here on one word may be another one mistyped


def counted(count: float, noun: str) -> str:
    """`1 image`, `2,000 images`, `0.5 minutes`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def did_you_mean(text: str, known: Iterable[str]) -> str:
    """`; did you mean NAME?` of the known name that is most like `text`; empty where none is, or two are equally."""
    likeness = {name: SequenceMatcher(None, text.lower(), name.lower()).ratio() for name in known}
    best = max(likeness.values(), default=0.0)
    nearest = [name for name, ratio in likeness.items() if ratio == best]
    return f"; did you mean {nearest[0]}?" if best >= _ALIKE and len(nearest) == 1 else ""
