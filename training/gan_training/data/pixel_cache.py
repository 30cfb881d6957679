"""Decoded images on disk: a file `pixels-KEY.npy` in the cache folder, mapped into memory when it is read.

A file is written under another name and renamed when it is whole, by one process at a time. Files of this kind
that were not used for longest are deleted to stay below `GAN_CACHE_GIB` (default 20).
"""

from __future__ import annotations

import errno
import io
import math
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from gan_training.files.atomic import part_of
from gan_training.files.cache import cache_folder
from gan_training.files.lock import alone_with, remove_abandoned

from .image_data import DataError

DEFAULT_GIB: Final = 20.0
_GIB: Final = 2**30
_BLOCK: Final = 16 * 2**20  # bytes in memory while a file is rewritten

PutFn = Callable[[int, NDArray[np.uint8]], None]
"""Stores image i, (C, H, W). Safe to call from several threads."""
FillFn = Callable[[PutFn], int]
"""Puts every image, and says how many of the channels are to be kept: all, or the first."""


def find(key: str, count: int) -> NDArray[np.uint8] | None:
    """The `count` images stored under `key`, (N, C, H, W); None where there are none, or the file is damaged.

    The array is a private map of the file: it takes memory only for what is read, and writing to it, which
    nothing should, would not change the file.
    """
    try:
        path = _path(key)
        images = np.load(path, mmap_mode="c", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    if not isinstance(images, np.memmap) or images.dtype != np.uint8 or images.ndim != 4 or len(images) != count:
        return None
    with suppress(OSError):  # a cache that somebody else filled, and that is only read here
        os.utime(path)  # it was used now; the time of access is not kept on every disk
    return np.asarray(images)


def store(key: str, shape: tuple[int, int, int, int], fill: FillFn) -> NDArray[np.uint8]:
    """Images of `shape` (N, C, H, W), made by `fill` and kept under `key`; where another process has just done so, its.

    Raises:
        OSError: the cache can't be written, or has no room for the images; ENOSPC and EFBIG (above
            `GAN_CACHE_GIB`) are found before any work is done, if they can be.
        DataError: `GAN_CACHE_GIB` is no number.
    """
    path = _path(key)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = part_of(path)
    with alone_with(part) as file:
        images = find(key, shape[0])
        if images is not None:
            part.unlink()
            return images
        try:
            file.truncate(0)
            _make_room(path, math.prod(shape))
            _write(file.fileno(), shape, fill)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        part.replace(path)
        images = find(key, shape[0])
    if images is None:
        raise OSError(errno.EIO, "the file can't be read back", str(path))
    return images


def limit_bytes() -> int:
    """Most bytes that all files of this kind may take, from `GAN_CACHE_GIB`; `DataError` if that is no number >= 0."""
    text = os.environ.get("GAN_CACHE_GIB") or str(DEFAULT_GIB)
    try:
        gib = float(text)
    except ValueError:
        gib = math.nan
    if not (math.isfinite(gib) and gib >= 0):
        raise DataError(f"GAN_CACHE_GIB is {text!r}; it must be a number of GiB, 0 or more")
    return int(gib * _GIB)


def _path(key: str) -> Path:
    return cache_folder() / f"pixels-{key}.npy"


def _make_room(path: Path, needed: int) -> None:
    """Delete what dead processes left, and the least recently used files until `needed` more bytes are allowed."""
    limit = limit_bytes()
    if needed > limit:
        raise OSError(errno.EFBIG, f"{needed / _GIB:.1f} GiB are needed, and GAN_CACHE_GIB is {limit / _GIB:.3g}")
    for part in path.parent.glob(part_of(_path("*")).name):
        if part != part_of(path):
            remove_abandoned(part)
    path.unlink(missing_ok=True)  # `find` refused it
    used: list[tuple[int, int, Path]] = []
    for other in path.parent.glob("pixels-*.npy"):
        try:
            status = other.stat()
        except FileNotFoundError:
            continue  # another process makes room, too
        used.append((status.st_mtime_ns, status.st_size, other))
    total = needed + sum(size for _, size, _ in used)
    for _, size, other in sorted(used):
        if total <= limit:
            break
        other.unlink(missing_ok=True)  # whoever has it mapped keeps it until the end
        total -= size
    free = shutil.disk_usage(path.parent).free
    if free < needed:
        raise OSError(errno.ENOSPC, f"{needed / _GIB:.1f} GiB are needed, and the disk has {free / _GIB:.1f} left")


def _write(file: int, shape: tuple[int, int, int, int], fill: FillFn) -> None:
    # Plain writes, where a map would be simpler: a map of a disk that runs full ends the process (SIGBUS).
    start, size = len(_header(shape)), math.prod(shape[1:])

    def put(index: int, image: NDArray[np.uint8]) -> None:
        _write_at(file, np.ascontiguousarray(image).tobytes(), start + index * size)

    kept = fill(put)
    if kept != shape[1]:
        _keep_first_channel(file, start, shape)
        shape = (shape[0], 1, *shape[2:])
    _write_at(file, _header(shape), 0)
    os.fsync(file)


def _keep_first_channel(file: int, start: int, shape: tuple[int, int, int, int]) -> None:
    """(N, C, H, W) -> (N, 1, H, W) inside the file, forwards: what is written is never ahead of what is read."""
    count, channels, height, width = shape
    size = height * width
    at_once = max(1, _BLOCK // (channels * size))
    for first in range(0, count, at_once):
        images = min(at_once, count - first)
        block = os.pread(file, images * channels * size, start + first * channels * size)
        grey = np.frombuffer(block, np.uint8).reshape(images, channels, size)[:, 0]  # (n, C * H * W) -> (n, H * W)
        _write_at(file, grey.tobytes(), start + first * size)
    os.truncate(file, start + count * size)


def _write_at(file: int, content: bytes, offset: int) -> None:
    written = 0
    while written < len(content):
        written += os.pwrite(file, content[written:], offset + written)


def _header(shape: tuple[int, int, int, int]) -> bytes:
    """As long for 1 channel as for 3."""
    header = io.BytesIO()
    npy.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return header.getvalue()
