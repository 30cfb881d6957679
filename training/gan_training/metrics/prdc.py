"""Precision, recall, density and coverage: how two sets of features overlap, by nearest neighbours.

Precision and recall: Kynkaanniemi et al., 2019, arXiv:1904.06991. Density and coverage: Naeem et al., 2020,
arXiv:2002.09797.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

NEIGHBOURS = 3  # whose distance is the radius of an image's ball
_CHUNK = 2048  # rows of a distance matrix that are held at once


class PRDC(NamedTuple):
    """Precision, recall, density and coverage of one pair of sets."""

    precision: float  # share of fakes inside the real manifold
    recall: float  # share of reals inside the fake manifold
    density: float  # how many real neighbourhoods hold a fake, on average, over k; can exceed 1
    coverage: float  # share of reals whose neighbourhood holds a fake


def prdc(real: Tensor, fake: Tensor, k: int = NEIGHBOURS) -> PRDC:
    """Compare (N, D) real with (M, D) fake features, each manifold being the union of its k-nearest-neighbour balls.

    Raises:
        ValueError: a set has no more than k rows.
    """
    if min(len(real), len(fake)) <= k:
        raise ValueError(f"{k} neighbours need more than {k} images, not {len(real)} real and {len(fake)} generated")
    # Distances come from products, which lose the digits that a large common offset takes.
    centre = real.mean(0)
    real, fake = real - centre, fake - centre
    real_radii, fake_radii = neighbour_radii(real, k), neighbour_radii(fake, k)
    inside = torch.zeros(len(fake))  # real balls that hold each fake
    recalled = torch.zeros(len(real), dtype=torch.bool)
    covered = torch.zeros(len(real), dtype=torch.bool)
    for start in range(0, len(real), _CHUNK):
        rows = slice(start, start + _CHUNK)
        distances = torch.cdist(real[rows], fake)  # (chunk, M)
        in_real_ball = distances <= real_radii[rows, None]
        inside += in_real_ball.sum(0)
        covered[rows] = in_real_ball.any(1)
        recalled[rows] = (distances <= fake_radii[None, :]).any(1)
    return PRDC(
        precision=float((inside > 0).float().mean()),
        recall=float(recalled.float().mean()),
        density=float(inside.mean()) / k,
        coverage=float(covered.float().mean()),
    )


def neighbour_radii(features: Tensor, k: int) -> Tensor:
    """(N,) distance of each row to its k-th nearest other row."""
    parts = [
        torch.cdist(features[start : start + _CHUNK], features).topk(k + 1, dim=1, largest=False).values[:, -1]
        for start in range(0, len(features), _CHUNK)
    ]
    return torch.cat(parts)
