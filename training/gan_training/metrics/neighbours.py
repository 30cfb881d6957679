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


def nearest_neighbours(queries: Tensor, training: Tensor) -> Nearest:
    """L1 nearest neighbours of uint8 (N, C, H, W) queries in uint8 (M, C, H, W) training images."""
    pixels = training[0].numel()
    asked = queries.flatten(1).float()
    distances, indices = torch.full((len(queries),), torch.inf), torch.zeros(len(queries), dtype=torch.int64)
    at_once = max(1, _NUMBERS // pixels)
    for first in range(0, len(training), at_once):
        part = training[first : first + at_once].flatten(1).float()
        for start in range(0, len(queries), _CHUNK):
            rows = slice(start, start + _CHUNK)
            nearest = torch.cdist(asked[rows], part, p=1).min(dim=1)
            is_closer = nearest.values < distances[rows]  # of equally close ones the first
            distances[rows] = torch.where(is_closer, nearest.values, distances[rows])
            indices[rows] = torch.where(is_closer, nearest.indices + first, indices[rows])
    return Nearest(distances / pixels, indices)


def memorisation_ratio(generated: Tensor, held_out: Tensor, training: Tensor) -> float | None:
    """Median distance of generated images to the training set over that of held-out real ones.

    About 1: as new as new images. Far below 1: copies of training images. None where half of the held-out images are
    in the training set.
    """
    fake = nearest_neighbours(generated, training).distances.median()
    real = nearest_neighbours(held_out, training).distances.median()
    return float(fake / real) if real else None
