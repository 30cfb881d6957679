"""The folder where things are kept that can be made again: decoded images, downloads, trained classifiers."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedRandom
from pathlib import Path


def cache_folder() -> Path:
    """`$GAN_CACHE`, or `~/.cache/ganworks` where that is not set; it may not exist yet.

    Raises:
        OSError: GAN_CACHE is not set, and this user has no home folder.
    """
    try:
        return Path(os.environ.get("GAN_CACHE") or "~/.cache/ganworks").expanduser()
    except RuntimeError as error:
        raise FileNotFoundError(f"no cache folder: {error}; set GAN_CACHE") from error


@contextmanager
def alone_with(part: Path) -> Iterator[BufferedRandom]:
    """The unfinished file `part`, open for reading and writing, with what an earlier process left in it.

    Other processes that ask for it wait until this one leaves or dies, so one that enters should first look
    whether the finished file has appeared meanwhile. Raises OSError, also where files can't be locked.
    """
    while True:
        with os.fdopen(os.open(part, os.O_RDWR | os.O_CREAT, 0o644), "r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if _is_still(part, file):
                yield file
                return


def remove_abandoned(part: Path) -> None:
    """Delete the unfinished file `part` unless a living process is at work on it. Never raises OSError."""
    try:
        with part.open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_still(part, file):
                part.unlink()
    except OSError:
        return  # at work, gone already, or not ours


def _is_still(path: Path, file: BufferedRandom) -> bool:
    """Whether `path` names the open `file`: whoever held its lock before may have renamed or removed it."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False
