"""Frechet distance between two sets of features (Heusel et al., 2017, arXiv:1706.08500)."""

from __future__ import annotations

import numpy as np
import torch
from scipy import linalg
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
    mean_real, cov_real = _gaussian(real)
    mean_fake, cov_fake = _gaussian(fake)
    # The eigenvalues of a product of two covariances are real and not negative; rounding alone makes them otherwise.
    eigenvalues = linalg.eigvals(cov_real @ cov_fake).real.clip(min=0)
    root_trace = np.sqrt(eigenvalues).sum()
    distance = ((mean_real - mean_fake) ** 2).sum() + np.trace(cov_real) + np.trace(cov_fake) - 2 * root_trace
    return max(float(distance), 0.0)


def _gaussian(features: Tensor) -> tuple[np.ndarray, np.ndarray]:
    values = features.to(torch.float64).numpy()
    return values.mean(axis=0), np.atleast_2d(np.cov(values, rowvar=False))
