"""One run in a folder at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from .checkpoint import CheckpointError
from .files import writing

LOCK = ".lock"

Stamp = tuple[int, int, int] | None


def stamp(path: Path) -> Stamp:
    """By which a file that is always replaced as a whole is known again; None where there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Makes the folder and keeps other processes' runs out of it; what died, however it died, keeps out nobody.

    Raises:
        CheckpointError: another process trains there, or the folder can't be written.
    """
    lock = FileLock(folder / LOCK)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            raise CheckpointError(
                f"{folder}: another gan-train is training there; wait for its end, or give another --out (if there is "
                f"none, remove {folder / LOCK})"
            ) from error
    try:
        yield
    finally:
        with suppress(OSError):  # Windows keeps what is open
            (folder / LOCK).unlink(missing_ok=True)
        lock.release()
