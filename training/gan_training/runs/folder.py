"""The folder of a run: what it is called there, and whether a run may start or go on in it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from gan_training.checkpoint import BEST, CHECKPOINT, CheckpointError
from gan_training.config import ConfigError
from gan_training.failures import looking, writing
from gan_training.files.lock import alone_with, is_still

LOCK = ".lock"

Stamp = tuple[int, int, int] | None


def stamp(path: Path) -> Stamp:
    """By which a file that is always replaced as a whole is known again; None where there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


def check_free(out: Path) -> None:
    """Raises ConfigError where a run has left a checkpoint, which one that starts anew would delete."""
    for name, ways in ((CHECKPOINT, "--resume, --force"), (BEST, "--force")):
        if stamp(out / name) is not None:
            raise ConfigError(f"{out} already holds {name}; give {ways} or another --out")


def check_folder(out: Path) -> None:
    """Whether `out` can be a folder, looked at before the work whose results it is to hold.

    Raises:
        ConfigError: it is a file.
        CheckpointError: it can't be looked at.
    """
    with looking(out):
        is_file = out.exists() and not out.is_dir()
    if is_file:
        raise ConfigError(f"{out} is a file, and --out is a folder; give another")


def check_resumable(out: Path) -> None:
    """Raises CheckpointError where there is no run to go on with."""
    path = out / CHECKPOINT
    with looking(path):
        is_there = path.exists()
    if not is_there:
        raise CheckpointError(f"{path}: no such file; there is no run to resume; drop --resume")


def check_untouched(out: Path, found: Stamp) -> None:
    """Raises CheckpointError where the checkpoint is no longer the one that was `found` when the run was made."""
    if stamp(out / CHECKPOINT) != found:
        raise CheckpointError(
            f"{out / CHECKPOINT}: another run has written or removed it since this one began; go on with it with "
            "--resume, or give another --out"
        )


@contextmanager
def alone_in(out: Path) -> Iterator[Callable[[], None]]:
    """Makes the folder and keeps other processes' runs out of it.

    Gives a check that raises CheckpointError where `out` was moved or removed since: another run may be there by now.

    Raises:
        CheckpointError: another process trains there, or the folder can't be written.
    """
    lock = out / LOCK
    with ExitStack() as stack:
        with writing(out):
            out.mkdir(parents=True, exist_ok=True)
            folder = os.open(out, os.O_RDONLY)  # while it is open no new folder can get its number
            stack.callback(os.close, folder)
            try:
                held = stack.enter_context(alone_with(lock, waits=False))
            except BlockingIOError as error:
                raise CheckpointError(
                    f"{out}: another gan-train is training there; wait for its end, or give another --out (if there is "
                    f"none, remove {lock})"
                ) from error

        def check_place() -> None:
            with looking(out):
                is_there = is_still(out, folder)
            if not is_there:
                raise CheckpointError(
                    f"{out}: was moved or removed while this run trained in it; if it was moved, go on with --resume "
                    "and --out with its place now"
                )

        try:
            yield check_place
        finally:
            with suppress(OSError):  # the folder may be closed by now
                if is_still(lock, held.fileno()):  # another run's stays
                    lock.unlink()
