"""Inception's features, in which published Frechet distances are measured (Heusel et al., 2017, arXiv:1706.08500).

The classes are a classifier's own: Inception knows none of the data's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .features import ClassifierExtractor

_CHUNK = 32  # images in a forward pass; 180 MB in the widest layer


@dataclass(frozen=True)
class InceptionExtractor:
    """Features of the last average pool of Inception (2015-12-05), classes of the classifier; a `FeatureExtractor`."""

    net: nn.Module  # uint8 (N, 3, H, W) -> a tuple whose first is (N, 2048) float32
    classifier: ClassifierExtractor

    @property
    def name(self) -> str:
        return "inception"

    @property
    def fingerprint(self) -> str:
        return self.classifier.fingerprint

    @property
    def accuracy(self) -> float | None:
        return self.classifier.accuracy

    @property
    def has_classes(self) -> bool:
        return self.classifier.has_classes

    @torch.no_grad()
    def extract(self, images: Tensor, progress: Callable[[int, int], None] | None = None) -> tuple[Tensor, Tensor]:
        """uint8 (N, 1 or 3, H, W) of any size -> features (N, 2048) float32 and predicted classes (N,) int64.

        Grey images are repeated to three channels; the net resizes to 299x299 itself. `progress`: told (images, N).
        """
        parts: list[Tensor] = []
        for start in range(0, len(images), _CHUNK):
            chunk = images[start : start + _CHUNK]
            parts.append(self.net(chunk.expand(-1, 3, -1, -1))[0])  # (n, 2048)
            if progress is not None:
                progress(start + len(chunk), len(images))
        return torch.cat(parts), self.classifier.extract(images)[1]
