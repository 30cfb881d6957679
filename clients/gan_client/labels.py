"""Labels as people write them on a command line."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import chain, cycle, islice

from .arguments import Label, label_of
from .errors import InvalidArgumentError


def parse_label(text: str) -> Label:
    """A class name or id as text: the service looks for a class named `7` before it takes the id 7.

    Raises InvalidArgumentError, for a negative number too: that is no name anybody meant.
    """
    stripped = text.strip()
    return label_of(int(stripped) if re.fullmatch(r"[+-][0-9]{1,18}", stripped) else stripped)


def parse_labels(text: str, n: int) -> list[Label]:
    """`n` labels, in turn from a list like `0-9`, `0,3,5` or `cat,dog,4-6`. Raises InvalidArgumentError."""
    spans = [_span(part.strip(), text) for part in text.split(",")]
    return list(islice(cycle(chain.from_iterable(spans)), n))


def _span(part: str, text: str) -> Iterable[Label]:
    if not part:
        raise InvalidArgumentError(
            f"labels is {text!r}: give ids or class names such as 0-9 or 0,3,5, none of them empty",
            param="labels",
        )
    ends = re.fullmatch(r"([0-9]{1,9})-([0-9]{1,9})", part)
    if ends is None:
        return [parse_label(part)]
    first, last = int(ends[1]), int(ends[2])
    if first > last:
        raise InvalidArgumentError(f"labels has {part!r}: a range goes upwards, {last}-{first}", param="labels")
    return range(first, last + 1)


def ranges(numbers: Iterable[int]) -> str:
    """The distinct numbers in order, runs shortened: `0-2,5`."""
    return ",".join(_spans(sorted(set(numbers))))


def _spans(numbers: list[int]) -> Iterator[str]:
    start = 0
    for i, number in enumerate(numbers):
        if i + 1 == len(numbers) or numbers[i + 1] != number + 1:
            first = numbers[start]
            yield str(first) if first == number else f"{first}-{number}"
            start = i + 1
