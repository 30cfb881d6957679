"""The folder of a run: what it is called there, and whether a run may start or go on in it."""

from __future__ import annotations

from pathlib import Path

from .checkpoint import CheckpointError
from .config import ConfigError
from .files import looking
from .lock import Stamp, stamp

CHECKPOINT = "ckpt.pt"
BEST = "best.pt"


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
