"""Atomic writes: whoever reads a file sees the old one or the new one, and never half of it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path


def part_of(path: Path) -> Path:
    """What is written beside `path` until it is whole, and left by a process that is killed in the middle."""
    return path.with_name(f".{path.name}.part")


def write_atomically(path: Path, write: Callable[[Path], object], *, is_durable: bool = False) -> None:
    """Let `write` fill a temporary file beside `path`, then rename it.

    Args:
        path: of the file; its folder exists.
        write: is given the temporary file's path. What it raises leaves the old file as it was, and no temporary one.
        is_durable: bring file and name to disk before this returns, so that they outlast a power cut.

    Raises:
        OSError: the disk is full, or the folder can't be written.
    """
    temporary = part_of(path)
    try:
        write(temporary)
        if is_durable:
            _sync(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    if is_durable:
        _sync(path.parent)


def _sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
