"""From a file that nobody vouches for to a generator that can be exported, or a clear refusal."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from torch import nn

from gan_training.checkpoint import CheckpointError, load_checkpoint

from .artifact import SAMPLER, ImageSpec, LatentSpec

Weights = Literal["ema", "raw"]
FAMILY = "ganworks/conv"


class IntakeError(ValueError):
    """A file that can't be exported; the message is one line for the user."""


@dataclass(frozen=True)
class Source:
    """A generator with everything the manifest has to say of it."""

    module: nn.Module  # eval mode, float32, called as module(z) or module(z, label)
    family: str
    hyperparameters: dict[str, Any]
    latent: LatentSpec
    image: ImageSpec
    class_names: list[str] | None
    sha256: str  # of the file
    weights: Weights
    training: dict[str, Any]

    @property
    def classes(self) -> int:
        """Number of classes; 0 for an unconditional generator."""
        return len(self.class_names) if self.class_names is not None else 0


def load_source(path: Path, weights: Weights = "ema", class_names: Sequence[str] | None = None) -> Source:
    """Read a checkpoint of gan-train.

    Args:
        path: `ckpt.pt`.
        weights: the averaged weights (`ema`) or the generator's own (`raw`).
        class_names: names to use instead of the checkpoint's, as many.

    Raises:
        IntakeError: not a checkpoint, damaged, weights that are not finite, or names that don't fit.
    """
    try:
        checkpoint = load_checkpoint(path)
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    except CheckpointError as error:
        raise IntakeError(str(error)) from error
    except OSError as error:
        raise IntakeError(f"{path}: can't be read: {error.strerror}") from error
    module = checkpoint.generator(weights)
    bad = [name for name, value in module.state_dict().items() if not value.isfinite().all()]
    if bad:
        raise IntakeError(f"{path}: {bad[0]} holds NaN or infinite values; export an earlier checkpoint")
    spec = checkpoint.generator_spec
    names = list(checkpoint.class_names)
    if class_names is not None:
        if len(class_names) != len(names):
            raise IntakeError(f"{len(class_names)} class names were given, but the generator has {len(names)} classes")
        names = list(class_names)
    if len(set(names)) != len(names):
        raise IntakeError(f"class names must differ from each other: {', '.join(names)}")
    return Source(
        module=module,
        family=FAMILY,
        hyperparameters=spec.to_dict(),
        latent=LatentSpec(dim=spec.latent_dim, distribution=spec.latent, sampler=SAMPLER),
        image=ImageSpec(
            height=spec.image_size,
            width=spec.image_size,
            channels=1 if spec.channels == 1 else 3,
            mode="L" if spec.channels == 1 else "RGB",
            value_range=(-1.0, 1.0),
        ),
        class_names=names or None,
        sha256=sha256,
        weights=weights,
        training={
            "type": checkpoint.config.type,
            "data": checkpoint.config.data.partition(":")[0],
            "steps": checkpoint.step,
            "batch_size": checkpoint.config.batch_size,
            "seed": checkpoint.config.seed,
        },
    )
