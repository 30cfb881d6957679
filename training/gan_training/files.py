"""Files for people: written whole or not at all, and one line where that can't be done."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from .checkpoint import CheckpointError


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file beside `path`, then rename it: nobody ever sees half a file."""
    temporary = path.with_name(f".{path.name}.part")
    try:
        write(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turns whatever keeps the block from writing below `folder` into a CheckpointError."""
    try:
        yield
    except OSError as error:
        raise CheckpointError(f"{folder}: can't write there: {error.strerror or error}") from error
