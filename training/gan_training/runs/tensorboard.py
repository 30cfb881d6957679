"""A run's numbers, sample grids and alarms as TensorBoard events."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image

from gan_training.config import ConfigError
from gan_training.failures import writing
from gan_training.pages.measures import NOT_MEASURED, group_of

FLUSH_SECONDS: Final = 20  # events may wait this long in memory


class EventWriter:
    """Writes event files into a folder that `tensorboard --logdir` reads.

    Tags are grouped as loss/, accuracy/, watch/, evaluation/, speed/ and, for unknown names, other/.
    """

    def __init__(self, folder: Path, resumed_at: int | None = None) -> None:
        """Open a new event file in `folder`, which is made if it isn't there.

        Args:
            folder: where the events go; files of earlier runs stay, but TensorBoard hides what this run does again.
            resumed_at: the checkpoint's step, whose events and those before stay visible; None for a fresh run.

        Raises:
            ConfigError: the optional package tensorboard is not installed.
            CheckpointError: the folder can't be written.
        """
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise ConfigError(
                "TensorBoard events need the package tensorboard; pip install 'ganworks[tensorboard]'"
            ) from error
        self._folder = folder
        with writing(self._folder):
            self._writer = SummaryWriter(
                str(folder), purge_step=0 if resumed_at is None else resumed_at + 1, flush_secs=FLUSH_SECONDS
            )
        self._hook = threading.excepthook
        threading.excepthook = self._in_thread

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """The measures of a line of metrics.jsonl; its `step` and `seconds` are left out."""
        with writing(self._folder):
            for name, value in values.items():
                if name not in NOT_MEASURED:
                    self._writer.add_scalar(f"{group_of(name).tag}/{name}", value, step)

    def picture(self, step: int, picture: Image.Image) -> None:
        """The sample grid at this step, as tag `samples`."""
        pixels = np.asarray(picture if picture.mode == "L" else picture.convert("RGB"))  # (H, W) or (H, W, 3) uint8
        with writing(self._folder):
            self._writer.add_image("samples", pixels, step, dataformats="HW" if pixels.ndim == 2 else "HWC")

    def alarm(self, step: int, kind: str, message: str) -> None:
        """An alarm as text, a tag for each kind."""
        with writing(self._folder):
            self._writer.add_text(f"alarm/{kind}", _markdown(message), step)

    def config(self, settings: Mapping[str, Any]) -> None:
        """The run's configuration as a table; once, at the start of a fresh run."""
        rows = [f"| {_markdown(name)} | {_markdown(str(value))} |" for name, value in settings.items()]
        with writing(self._folder):
            self._writer.add_text("config", "\n".join(["| setting | value |", "|---|---|", *rows]), 0)

    def flush(self) -> None:
        """Bring all events to disk, so that a kill after this loses none of them; call it with each checkpoint."""
        with writing(self._folder):
            self._writer.flush()

    def close(self) -> None:
        """Flush, and end the writer's thread."""
        with writing(self._folder):
            self._writer.close()
        if threading.excepthook == self._in_thread:  # not after a failure, of which the thread may still be telling
            threading.excepthook = self._hook

    def _in_thread(self, failure: threading.ExceptHookArgs) -> None:
        """No traceback of what the disk told the writer's thread: the next call here raises it."""
        is_told = isinstance(failure.exc_value, OSError) and type(failure.thread).__module__.startswith("tensorboard.")
        if not is_told:
            self._hook(failure)


def _markdown(text: str) -> str:
    """On one line, with what Markdown tables and emphasis would take for their own escaped."""
    return "".join(f"\\{c}" if c in "\\|*_`<>#[]" else c for c in " ".join(text.split()))
