"""What a data source is asked for, and what it hands back to `load_data`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .image_data import DataError

MAX_BYTES = 16 * 2**30
"""Most bytes one array may take. Headers are checked against it before any memory is asked for."""


ProgressFn = Callable[[int, int], None]
"""Told (done, total) now and then: images that are decoded, drawn or measured, or bytes that are downloaded."""


def keep_silent(_done: int, _total: int) -> None:
    """The `ProgressFn` of a caller who doesn't want to know."""


@dataclass(frozen=True)
class Request:
    """What the user asked of one source."""

    argument: str
    """The text after `:` or `#`; empty where there was none."""
    image_size: int | None
    """Pixels, one of `SUPPORTED_SIZES`; None: the source's own size."""
    channels: int | None
    """1 or 3; None: what the source holds."""
    progress: ProgressFn = keep_silent


@dataclass(frozen=True, eq=False)
class RawImages:
    """A source's content before `load_data` brings it to the asked size and channels."""

    pixels: NDArray[np.uint8]
    """(N, H, W, C), C in {1, 3}; H and W of any size."""
    labels: NDArray[np.integer] | None
    """(N,) of any integer type; not checked yet. None: unlabelled."""
    class_names: tuple[str, ...] | None
    """One name per class id; None: the ids are the names."""
    notes: tuple[str, ...] = ()
    """What the user should know of it, a line each."""
    stored_sizes: frozenset[tuple[int, int]] = frozenset()
    """(width, height) of files that were resized when they were decoded, of some of them where they are many; empty:
    `pixels` are as they were stored."""
    file_names: Sequence[str] = ()
    """Of each image, where it is a file of a folder: relative to that."""


@dataclass(frozen=True)
class Source:
    """One entry of the registry of sources."""

    form: str
    """How it's written, e.g. `folder:DIR`."""
    example: str
    """A source string that a user could type."""
    load: Callable[[Request], RawImages]


def check_bytes(what: str, shape: tuple[int, ...], itemsize: int = 1) -> int:
    """The bytes an array of `shape` takes; `DataError` naming `what` when that is above `MAX_BYTES`."""
    needed = math.prod(shape) * itemsize
    if needed > MAX_BYTES:
        raise DataError(
            f"{what}: an array of {' x '.join(map(str, shape))} takes {needed / 2**30:.1f} GiB and the limit "
            f"is {MAX_BYTES // 2**30} GiB; use fewer or smaller images"
        )
    return needed
