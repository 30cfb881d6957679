"""Class agreement: does a classifier see the class that was asked for, and are all classes there?"""

from __future__ import annotations

import torch
from torch import Tensor


def class_agreement(predicted: Tensor, asked: Tensor) -> float:
    """Share of images whose predicted class is the one that was asked for; both (N,) int64."""
    return float((predicted == asked).float().mean())


def class_shares(predicted: Tensor, classes: int) -> list[float]:
    """Share of images in each predicted class: `classes` numbers that add up to 1."""
    counts = torch.bincount(predicted, minlength=classes).double()
    return [float(share) for share in counts / counts.sum()]
