"""Files that one process at a time holds, and that those who die, however they do, leave free."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BufferedRandom
from pathlib import Path


def is_still(path: Path, descriptor: int) -> bool:
    """Whether `path` names the open file or folder, which somebody may have renamed or removed."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except (FileNotFoundError, NotADirectoryError):
        return False


@contextmanager
def alone_with(path: Path, *, waits: bool = True) -> Iterator[BufferedRandom]:
    """The file at `path`, open for reading and writing, with what an earlier process left in it.

    Other processes that ask for it wait until this one leaves or dies, so one that enters should first look
    whether there is still something to do. Raises OSError, also where files can't be locked.

    Args:
        path: of the file, which is made where there is none; its folder exists.
        waits: for another process that has it; BlockingIOError otherwise.
    """
    while True:
        with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o644), "r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX if waits else fcntl.LOCK_EX | fcntl.LOCK_NB)
            if is_still(path, file.fileno()):
                yield file
                return


def remove_abandoned(path: Path) -> None:
    """Delete the file unless a living process holds it. Never raises OSError."""
    with suppress(OSError), alone_with(path, waits=False):  # held, or not ours
        path.unlink()
