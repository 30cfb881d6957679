"""Diversity: mean distance between two images, against that of real ones. A collapsed generator is near 0."""

from __future__ import annotations

import torch
from torch import Tensor

from .subsample import subsample


def mean_pairwise_distance(features: Tensor) -> float:
    """Mean Euclidean distance of all pairs of rows of (N, D); 0 for a single row."""
    if len(features) < 2:
        return 0.0
    return float(torch.pdist(features).mean())


def relative_diversity(real: Tensor, fake: Tensor, limit: int = 2000) -> float | None:
    """Mean pairwise distance of the fakes over that of the reals, on at most `limit` rows of each; 1 is as diverse.

    None where the real ones are all alike.
    """
    real_distance = mean_pairwise_distance(subsample(real, limit))
    return mean_pairwise_distance(subsample(fake, limit)) / real_distance if real_distance else None
