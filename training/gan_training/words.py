"""Words of messages: the right plural, and what somebody may have meant."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import SequenceMatcher

_ALIKE = 0.7  # of 1: from here on one word may be another one mistyped


def counted(count: float, noun: str) -> str:
    """`1 image`, `2,000 images`, `0.5 minutes`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def did_you_mean(text: str, known: Iterable[str], then: str) -> str:
    """`; did you mean NAME? Then` of the known name that is most like `text`; `; then` where none is, or two are."""
    likeness = {name: SequenceMatcher(None, text.lower(), name.lower()).ratio() for name in known}
    best = max(likeness.values(), default=0.0)
    nearest = [name for name, ratio in likeness.items() if ratio == best]
    if best < _ALIKE or len(nearest) > 1:
        return f"; {then}"
    return f"; did you mean {nearest[0]}? {then[:1].upper()}{then[1:]}"
