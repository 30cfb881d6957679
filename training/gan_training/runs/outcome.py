"""What a run reports while it goes on, and the ways it can end early."""

from __future__ import annotations

import math
from dataclasses import dataclass

from gan_training.watch.alarm import Alarm


class TrainingDivergedError(RuntimeError):
    """A loss or a weight became NaN or infinite, or samples collapsed; the last good checkpoint is kept."""


class TrainingStoppedError(RuntimeError):
    """Ctrl-C or SIGTERM: training stopped between two steps, and the checkpoint holds all of them."""


class OutOfMemoryError(RuntimeError):
    """The run is too large for the memory of this machine, or of its GPU."""


@dataclass(frozen=True)
class Progress:
    """What a run reports every `log_every` steps, averaged over them."""

    step: int
    steps: int
    seconds: float  # training time, over all resumes
    minutes_limit: float | None
    images_per_second: float  # real images seen by the critic
    losses: dict[str, float]
    verdict: str = ""  # of the monitor
    alarms: tuple[Alarm, ...] = ()  # that rang now

    @property
    def share(self) -> float:
        """How much of the run is done, 0 to 1, by steps or by time, whichever ends it first."""
        by_time = self.seconds / 60 / self.minutes_limit if self.minutes_limit else 0.0
        return min(1.0, max(self.step / self.steps, by_time))

    @property
    def seconds_left(self) -> float:
        return self.seconds * (1 - self.share) / self.share if self.share else math.inf
