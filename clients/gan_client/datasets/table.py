"""labels.csv: a row for each image that is there."""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from .plan import Entry

TABLE: Final = "labels.csv"
_ROWS_AT_ONCE: Final = 10_000


class Table:
    """Rows are appended in the order of the images; what an interruption left is written anew."""

    def __init__(self, path: Path, places: Sequence[str]) -> None:
        """`places`: names of the first columns, which say where an image is; then seed, label and label_name."""
        self.path = path
        self._header = (*places, "seed", "label", "label_name")

    def restart(self, rows: Iterable[tuple[tuple[str, ...], Entry]]) -> None:
        """Begin the file with the header and `rows`, atomically."""
        part = self.path.with_name(f"{self.path.name}.part")
        with part.open("wb") as stream:
            stream.write(_text([self._header]))
            rest = iter(rows)
            while text := _text(map(_cells, itertools.islice(rest, _ROWS_AT_ONCE))):
                stream.write(text)
        part.replace(self.path)

    def append(self, rows: Iterable[tuple[tuple[str, ...], Entry]]) -> None:
        """Add `rows`, each a place and what is known of the image there."""
        with self.path.open("ab") as stream:
            stream.write(_text(map(_cells, rows)))


def _cells(row: tuple[tuple[str, ...], Entry]) -> tuple[str, ...]:
    place, entry = row
    label = "" if entry.label is None else str(entry.label)
    return (*place, str(entry.seed), label, entry.label_name or "")


def _text(rows: Iterable[Iterable[str]]) -> bytes:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(rows)
    return buffer.getvalue().encode()
