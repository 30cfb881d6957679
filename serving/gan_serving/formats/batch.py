"""Generated images with what is known of each: what the encoders take."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gan_client.types import GeneratedImage


@dataclass(frozen=True)
class Batch:
    """Images of one request, or a part of them."""

    model: str
    images: NDArray[np.uint8]  # (N, C, H, W)
    seeds: list[int] | None  # N
    labels: list[int] | None  # N
    class_names: list[str] | None
    columns: int | None  # of a contact sheet
    quality: int | None = None  # of jpeg and webp, 1 to 100

    def __len__(self) -> int:
        return len(self.images)

    def describe(self, i: int) -> GeneratedImage:
        """The wire record of image i, without the image."""
        label = None if self.labels is None else self.labels[i]
        name = None if label is None or self.class_names is None else self.class_names[label]
        return GeneratedImage(seed=None if self.seeds is None else self.seeds[i], label=label, label_name=name)
