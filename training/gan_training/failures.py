"""Failures to write and to look, told in one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .checkpoint import CheckpointError


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turns whatever keeps the block from writing below `folder` into a CheckpointError."""
    with _told(folder, "can't write there"):
        yield


@contextmanager
def looking(path: Path) -> Iterator[None]:
    """Turns whatever keeps the block from learning what `path` is into a CheckpointError."""
    with _told(path, "can't be looked at"):
        yield


@contextmanager
def _told(path: Path, what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CheckpointError(f"{path}: {what}: {error.strerror or error}") from error
