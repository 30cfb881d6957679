"""A generator with everything the manifest has to say of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import onnx
from torch import nn

from gan_export.artifact import SAMPLER, ImageSpec, LatentSpec
from gan_export.artifact.latents import Distribution
from gan_export.artifact.manifest import MAX_LATENT
from gan_export.refusal import IntakeError

from .options import Weights


@dataclass(frozen=True)
class Source:
    """What is exported."""

    generator: nn.Module | onnx.ModelProto  # called as module(z) or module(z, label); or a graph of serving's signature
    family: str
    hyperparameters: dict[str, Any]
    latent: LatentSpec
    image: ImageSpec
    class_names: list[str] | None
    sha256: str  # of the file
    weights: Weights
    training: dict[str, Any]
    notes: tuple[str, ...] = ()  # sentences for the model card: what was worked out, and what nobody vouches for

    @property
    def classes(self) -> int:
        """Number of classes; 0 for an unconditional generator."""
        return len(self.class_names) if self.class_names is not None else 0


def image_spec(channels: int, height: int, width: int) -> ImageSpec:
    """Images on [-1, 1]."""
    return ImageSpec(
        height=height,
        width=width,
        channels=1 if channels == 1 else 3,
        mode="L" if channels == 1 else "RGB",
        value_range=(-1.0, 1.0),
    )


def latent_spec(dim: int, distribution: Distribution) -> LatentSpec:
    """What a seed becomes; raises IntakeError if latents are longer than an artifact's may be."""
    if dim > MAX_LATENT:
        raise IntakeError(f"takes latents of {dim} numbers; at most {MAX_LATENT} are supported")
    return LatentSpec(dim=dim, distribution=distribution, sampler=SAMPLER)
