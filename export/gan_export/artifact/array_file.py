"""Large arrays in a file, written one after another and read as maps of it: of gigabytes of them, few are in memory."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Final, Self

import numpy as np

from .cases import Array

_ALIGNED: Final = 64  # bytes: a multiple of it is where an array begins


class ArrayFile:
    """Arrays by name, written within a `with` block; after it `read_arrays` finds them.

    Args:
        path: of the file; a second one beside it says what is in it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._index: dict[str, tuple[str, tuple[int, ...], int]] = {}  # dtype, shape, first byte

    def __enter__(self) -> Self:
        self._file = self.path.open("wb")
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        _index_of(self.path).write_text(json.dumps(self._index))

    def add(self, name: str, parts: Iterable[Array]) -> None:
        """Write one more, whose rows come in parts of at least one dimension; there is at least one part.

        Raises:
            OSError: there is no room.
        """
        self._file.write(bytes(-self._file.tell() % _ALIGNED))
        start, rows = self._file.tell(), 0
        for part in parts:
            self._file.write(np.ascontiguousarray(part).data)
            rows += len(part)
        self._index[name] = (part.dtype.str, (rows, *part.shape[1:]), start)

    def __contains__(self, name: str) -> bool:
        return name in self._index

    def __getitem__(self, name: str) -> Array:
        """One that was written, mapped."""
        self._file.flush()
        return _array(_mapped(self.path), *self._index[name])


def read_arrays(path: Path) -> dict[str, Array]:
    """All arrays of a file, mapped; they stay when the file is deleted."""
    whole = _mapped(path)  # once: each map would take a file descriptor
    return {name: _array(whole, *where) for name, where in json.loads(_index_of(path).read_text()).items()}


def _index_of(path: Path) -> Path:
    return path.with_name(path.name + ".json")


def _mapped(path: Path) -> Array:
    return np.asarray(np.memmap(path, np.uint8, "r")) if path.stat().st_size else np.empty(0, np.uint8)


def _array(whole: Array, dtype: str, shape: tuple[int, ...], start: int) -> Array:
    size = np.dtype(dtype).itemsize * int(np.prod(shape, dtype=np.int64))
    return whole[start : start + size].view(dtype).reshape(shape)
