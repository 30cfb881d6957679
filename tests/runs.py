"""Training runs that report nothing, and that go on from their checkpoint."""

from pathlib import Path
from typing import Any

from gan_training.checkpoint import load_checkpoint
from gan_training.data import ImageData
from gan_training.runs.outcome import Progress
from gan_training.runs.run import Run


def quiet(_: Progress) -> None:
    """No report."""


def resumed(out: Path, data: ImageData, **changes: Any) -> Run:
    """The run of a folder, to go on with on the same data."""
    checkpoint = load_checkpoint(out / "ckpt.pt")
    return Run(checkpoint.config.with_changes(changes), out, data, checkpoint)
