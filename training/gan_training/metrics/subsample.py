"""Fewer rows than there are, without the first ones being others than the last."""

from __future__ import annotations

import torch
from torch import Tensor


def subsample_indices(total: int, count: int) -> Tensor:
    """At most `count` of the numbers 0 to total - 1, the same seeded choice each time; all of them in their order."""
    if total <= count:
        return torch.arange(total)
    return torch.randperm(total, generator=torch.Generator().manual_seed(0))[:count]


def subsample(rows: Tensor, count: int) -> Tensor:
    """At most `count` rows, the same seeded choice each time: images may be sorted by class."""
    return rows if len(rows) <= count else rows[subsample_indices(len(rows), count)]
