"""Training that has diverged: found by losses, weights and images that are no longer finite."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from torch import nn

from gan_training.grid import NonFiniteImagesError

from .outcome import TrainingDivergedError


def check_losses(means: Mapping[str, float], step: int, checkpoint: Path) -> None:
    """Raises TrainingDivergedError if one of them is not finite.

    Args:
        means: losses and accuracies, by name.
        step: generator updates done.
        checkpoint: where the last good state is, if the run has saved one.
    """
    for name, value in means.items():
        if not math.isfinite(value):
            raise _diverged(f"{name} is {value}", step, checkpoint)


def check_weights_finite(nets: Mapping[str, nn.Module], step: int, checkpoint: Path) -> None:
    """The same for the weights of nets, by name: what the last step did to them shows only in the next losses."""
    for which, net in nets.items():
        bad = next((name for name, value in net.state_dict().items() if not value.isfinite().all()), None)
        if bad:
            raise _diverged(f"the {which}'s {bad} is not finite", step, checkpoint)


@contextmanager
def finite_images(step: Callable[[], int], checkpoint: Path) -> Iterator[None]:
    """The same for images that are drawn inside: finite weights may be so large that images aren't finite.

    Args:
        step: gives the generator updates done when it is called.
        checkpoint: as above.
    """
    try:
        yield
    except NonFiniteImagesError as error:
        raise _diverged(str(error), step(), checkpoint) from error


def _diverged(what: str, step: int, checkpoint: Path) -> TrainingDivergedError:
    return TrainingDivergedError(
        f"{what} before step {step}: training has diverged; "
        + (f"{checkpoint} holds the last good state; " if checkpoint.exists() else "")
        + "try a lower learning rate, e.g. --set generator_lr=1e-4 --set critic_lr=1e-4"
    )
