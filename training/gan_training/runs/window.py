"""The steps of a run between two looks at it: how many they are, and what comes of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from gan_training.config import TrainConfig
from gan_training.loop import Trainer


@dataclass(frozen=True)
class Window:
    """What came of some steps."""

    losses: dict[str, float]  # and accuracies: means over the steps
    images_per_second: float  # real images seen by the critic


def is_due(step: int, every: int) -> bool:
    """Whether what happens every so many steps, or never if that is 0, happens after this step."""
    return every > 0 and step % every == 0


def is_time_up(config: TrainConfig, seconds: float) -> bool:
    """Whether a run that has trained for so long has used up its minutes."""
    return config.minutes is not None and seconds >= config.minutes * 60


def steps_until_due(config: TrainConfig, step: int) -> int:
    """How many steps after this one, at least 1, something is due or the run ends."""
    every = [config.log_every, config.checkpoint_every, config.sample_every]
    every += [steps for steps in (config.watch_every, config.evaluate_every) if steps]
    return min(config.steps - step, *(steps - step % steps for steps in every))


def advance(trainer: Trainer, steps: int, batch_size: int, is_stopped: Callable[[], bool]) -> Window:
    """Do `steps` steps, or fewer, but one, where `is_stopped` says so after one of them.

    `batch_size`: images of all processes together.
    """
    began, done = time.monotonic(), 0
    sums: dict[str, torch.Tensor] = {}
    counts: dict[str, int] = {}
    while done < steps:
        for name, value in trainer.step().items():
            sums[name] = sums[name] + value if name in sums else value
            counts[name] = counts.get(name, 0) + 1
        done += 1
        if is_stopped():
            break
    means = {name: float(total) / counts[name] for name, total in sums.items()}  # waits for the device
    images = done * batch_size * trainer.objective.critic_steps
    return Window(means, images / max(time.monotonic() - began, 1e-9))
