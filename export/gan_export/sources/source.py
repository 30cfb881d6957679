"""A generator with everything the manifest has to say of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import onnx
from torch import nn

from gan_export.artifact import ImageSpec, LatentSpec

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
