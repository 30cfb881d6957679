"""In how many ways images vary: principal components, and the intrinsic dimension."""

from __future__ import annotations

import torch
from torch import Tensor


def principal_components(sample: Tensor, share: float) -> int:
    """How many principal components of (n, values) hold this share of the variance."""
    centred = sample - sample.mean(0)
    gram = centred @ centred.T if len(centred) < centred.shape[1] else centred.T @ centred
    variances = torch.linalg.eigvalsh(gram.double()).flip(0).clamp_min(0).cumsum(0)
    return int((variances < share * variances[-1]).sum()) + 1


def intrinsic_dimension(sample: Tensor) -> float:
    """Of (n, values), by Two-NN (Facco et al. 2017, doi:10.1038/s41598-017-11873-y); 0 for too few different images.

    The ratio of the distances to the second and the first neighbour follows a Pareto law whose exponent is the
    dimension: fitted through the origin, without the largest tenth, as the paper does. MNIST has 13, moving discs 3.
    """
    distances = torch.cdist(sample.double(), sample.double()).fill_diagonal_(torch.inf)
    near = max(0.01, 0.1 * float(distances.topk(2, largest=False).values[:, 1].median()))
    single = ~(distances < near).triu(1).any(0)  # copies have no place in that law: one of each stays
    if int(single.sum()) < 12:
        return 0.0
    first, second = distances[single][:, single].topk(2, largest=False).values.T
    ratios = (second / first).log().sort().values
    kept = int(0.9 * len(ratios))
    x, y = ratios[:kept], -torch.log1p(-torch.arange(1, kept + 1) / len(ratios))
    return float((x * y).sum() / (x * x).sum())
