"""Nearest neighbours in pixels: what a generator only remembers is closer to training images than new images are."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

_CHUNK = 256  # rows of a distance matrix that are held at once
_NUMBERS = 2**26  # of training images that are held as floats at once: 256 MiB


class Nearest(NamedTuple):
    """For each query image, the closest training image."""

    distances: Tensor  # (N,) mean absolute difference per pixel, on 0..255
    indices: Tensor  # (N,) int64 into the training images


def nearest_neighbours(queries: Tensor, training: Tensor, *, others: bool = False) -> Nearest:
    """L1 nearest neighbours of uint8 (N, C, H, W) queries in uint8 (M, C, H, W) training images.

    `others`: images that are equal to the query don't count; where all are, the distance is infinite.
    """
    pixels = training[0].numel()
    asked = queries.flatten(1).float()
    distances, indices = torch.full((len(queries),), torch.inf), torch.zeros(len(queries), dtype=torch.int64)
    at_once = max(1, _NUMBERS // pixels)
    for first in range(0, len(training), at_once):
        part = training[first : first + at_once].flatten(1).float()
        for start in range(0, len(queries), _CHUNK):
            rows = slice(start, start + _CHUNK)
            apart = torch.cdist(asked[rows], part, p=1)  # sums of whole numbers below 2**24: exact
            nearest = (apart.masked_fill_(apart == 0, torch.inf) if others else apart).min(dim=1)
            is_closer = nearest.values < distances[rows]  # of equally close ones the first
            distances[rows] = torch.where(is_closer, nearest.values, distances[rows])
            indices[rows] = torch.where(is_closer, nearest.indices + first, indices[rows])
    return Nearest(distances / pixels, indices)


def memorisation_ratio(generated: Tensor, training: Tensor) -> float | None:
    """`relative_distance` of uint8 (N, C, H, W) generated images to (M, C, H, W) training images."""
    nearest = nearest_neighbours(generated, training)
    own = nearest_neighbours(training[nearest.indices], training, others=True)
    return relative_distance(nearest.distances, own.distances)


def relative_distance(found: Tensor, own: Tensor) -> float | None:
    """Median over images of the distance to the nearest training image, over that image's own to the next other one.

    About 1: as new as new images, whatever their class and however much ink they have, which sets both distances.
    0: copies.

    Args:
        found: (N,) distance of each image to its nearest training image.
        own: (N,) distance of that training image to the nearest one that differs from it; infinite where none does.

    Returns:
        The median where there is another image; None where there is none for any.
    """
    known = own.isfinite()
    return float((found[known] / own[known]).median()) if known.any() else None
