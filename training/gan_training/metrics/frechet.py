"""Frechet distance between two sets of features (Heusel et al., 2017, arXiv:1706.08500)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def frechet_distance(real: Tensor, fake: Tensor) -> float:
    """|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)) of the Gaussians fitted to two feature sets.

    Args:
        real: (N, D) features.
        fake: (M, D) features.

    Returns:
        A distance of at least 0, in squared units of the features.

    Raises:
        ValueError: fewer than two rows, or other widths.
    """
    if min(len(real), len(fake)) < 2 or real.shape[1] != fake.shape[1]:
        raise ValueError(f"features of shapes {tuple(real.shape)} and {tuple(fake.shape)} can't be compared")
    mean_real, factor_real = _gaussian(real)
    mean_fake, factor_fake = _gaussian(fake)
    # With C1 = A'A and C2 = B'B, the roots of the eigenvalues of C1 C2 are the singular values of AB'. Unlike the
    # eigenvalues they lose no digits where a covariance is singular, and few images make a small matrix.
    root_trace = np.linalg.svd(factor_real @ factor_fake.T, compute_uv=False).sum()
    distance = ((mean_real - mean_fake) ** 2).sum() + (factor_real**2).sum() + (factor_fake**2).sum() - 2 * root_trace
    return max(float(distance), 0.0)


def _gaussian(features: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Mean (D,), and a factor A of the covariance A'A with at most D rows."""
    values = features.to(torch.float64).numpy()
    mean = values.mean(axis=0)
    centred = (values - mean) / np.sqrt(len(values) - 1)  # (N, D)
    if len(centred) <= centred.shape[1]:
        return mean, centred
    return mean, np.asarray(np.linalg.qr(centred, mode="r"))
