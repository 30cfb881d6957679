"""Labels and seeds as people write them on a command line."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import TypeVar

from ._constants import MAX_IMAGES
from .arguments import Label, label_of, seed_number
from .errors import InvalidArgumentError

_T = TypeVar("_T")


def parse_label(text: str) -> Label:
    """A class name or id as text: the service looks for a class named `7` before it takes the id 7.

    Raises InvalidArgumentError, for a negative number too: that is no name anybody meant.
    """
    stripped = text.strip()
    return label_of(int(stripped) if re.fullmatch(r"[+-][0-9]{1,18}", stripped) else stripped)


def parse_labels(text: str) -> list[Label]:
    """The labels of a list like `0-9`, `0,3,5` or `cat,dog,4-6`. Raises InvalidArgumentError."""
    spans: list[Sequence[Label]] = []
    for part in _parts(text):
        if not part:
            raise InvalidArgumentError(
                f"labels is {text!r}: give ids or class names such as 0-9 or 0,3,5, none of them empty",
                param="labels",
            )
        spans.append(_span(part, "labels") or [parse_label(part)])
    return _bounded("labels", chain.from_iterable(spans))


def parse_seeds(text: str) -> list[int]:
    """The seeds of a list like `1,5,9` or `0-15,40`, in its order. Raises InvalidArgumentError."""
    spans: list[Sequence[int]] = []
    for part in _parts(text):
        if not re.fullmatch(r"[0-9]{1,16}(-[0-9]{1,16})?", part):
            raise InvalidArgumentError(
                f"seeds is {text!r}: give whole numbers from 0 such as 1,5,9 or 0-15", param="seeds"
            )
        spans.append(_span(part, "seeds") or [int(part)])
    return [seed_number(seed) for seed in _bounded("seeds", chain.from_iterable(spans))]


def class_ids(labels: Iterable[Label], class_names: Sequence[str], model: str) -> list[int]:
    """The class id of each label, a class's name before its number, as the service reads them.

    Raises InvalidArgumentError for a label that is no class of `model`.
    """
    by_name = {_composed(name): index for index, name in reversed(list(enumerate(class_names)))}
    found = []
    for label in labels:
        index = by_name.get(_composed(label)) if isinstance(label, str) else label
        if index is None and re.fullmatch(r"[0-9]{1,9}", str(label)):
            index = int(label)
        if index is None or index >= len(class_names):
            near = nearest(str(label), class_names)
            advice = "give" if near is None else f"did you mean {near!r}? Else give"
            raise InvalidArgumentError(
                f"label {label!r} is not a class of {model!r}: {advice} 0 to {len(class_names) - 1} or a class name",
                param="label",
            )
        found.append(index)
    return found


def nearest(text: str, names: Iterable[str]) -> str | None:
    """The one of `names` that is most like `text`, whatever its case; None if none is much like it."""
    from difflib import get_close_matches

    by_key = {_composed(name).casefold(): name for name in names}
    found = get_close_matches(_composed(text).casefold(), by_key, n=1)
    return by_key[found[0]] if found else None


def _composed(name: str) -> str:
    """In Unicode's form NFC, which keyboards give; the folders of a Mac, and class names after them, have another."""
    return unicodedata.normalize("NFC", name)


def ranges(numbers: Iterable[int]) -> str:
    """The distinct numbers in order, runs shortened: `0-2,5`."""
    return ",".join(_spans(sorted(set(numbers))))


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",")]


def _span(part: str, param: str) -> range | None:
    """The numbers of `3-7`; None for anything else."""
    ends = re.fullmatch(r"([0-9]{1,16})-([0-9]{1,16})", part)
    if ends is None:
        return None
    first, last = int(ends[1]), int(ends[2])
    if first > last:
        raise InvalidArgumentError(f"{param} has {part!r}: a range goes upwards, {last}-{first}", param=param)
    return range(first, last + 1)


def _bounded(param: str, values: Iterable[_T]) -> list[_T]:
    """All `values`, at most as many as one call may have images."""
    found = list(islice(values, MAX_IMAGES + 1))
    if len(found) > MAX_IMAGES:
        raise InvalidArgumentError(f"{param} has over {MAX_IMAGES} entries: give {MAX_IMAGES} at most", param=param)
    return found


def _spans(numbers: list[int]) -> Iterator[str]:
    start = 0
    for i, number in enumerate(numbers):
        if i + 1 == len(numbers) or numbers[i + 1] != number + 1:
            first = numbers[start]
            yield str(first) if first == number else f"{first}-{number}"
            start = i + 1
