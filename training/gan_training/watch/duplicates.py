"""Near-duplicates among images: copies that are exact, re-encoded, brighter, or shifted by one pixel each way.

Candidates are found by the lowest frequencies, which no small shift changes, and compared pixel by pixel.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional as F

CANDIDATES: Final = 4  # images that look most like a queried one, compared pixel by pixel
SAME: Final = 0.01  # 1 - correlation: below, two images are the same; the nearest two of MNIST have 0.013
SIMILAR: Final = 0.03  # below, they are the same if what else comes near is at least 1 / STANDS_OUT times as far
STANDS_OUT: Final = 0.2
_QUERIES: Final = 32  # compared with all images at once
CHUNK_BYTES: Final = 2**18  # of images that are worked on at once: they fit into the processor's cache


def find_copies(images: Tensor, queries: Tensor) -> list[tuple[int, int]]:
    """Those of the queried images that have a near-identical copy, each with the index of one.

    Args:
        images: uint8 (N, C, H, W), at least two.
        queries: (n,) int64, indices of images.
    """
    prints = _fingerprints(images)
    return [pair for part in torch.split(queries, _QUERIES) for pair in _copies(images, prints, part)]


def count_shared(images: Tensor, others: Tensor) -> int:
    """How many of the images, uint8 (N, C, H, W), are among the others, (M, C, H, W), byte for byte."""
    known = {hash(image.tobytes()) for image in others.numpy()}
    return sum(hash(image.tobytes()) in known for image in images.numpy())


def distinct(images: Tensor) -> Tensor:
    """(k,) int64: the first row of each of the images, uint8 (N, C, H, W), that are not equal byte for byte."""
    first: dict[int, int] = {}
    for row, image in enumerate(images.numpy()):
        first.setdefault(hash(image.tobytes()), row)
    return torch.tensor(list(first.values()))


def in_chunks(images: Tensor) -> Iterator[Tensor]:
    """(N, C, H, W) uint8 in slices of a few images."""
    return iter(torch.split(images, max(1, CHUNK_BYTES // images[0].numel())))


def _fingerprints(images: Tensor) -> Tensor:
    """(N, d) float32 of length 1: amplitudes of the lowest frequencies in grey, which no small shift changes."""
    factor = max(1, images.shape[-1] // 14)
    prints = []
    for chunk in in_chunks(images):
        grey = F.avg_pool2d(chunk.float().mean(1, keepdim=True), factor)[:, 0]
        spectrum = torch.fft.rfft2(grey - grey.mean((1, 2), keepdim=True), norm="forward").abs()  # in grey levels
        lowest = torch.cat([spectrum[:, :5, :5], spectrum[:, -4:, :5]], dim=1).flatten(1)
        lowest[:, 0] = 0.01  # the mean's place: images without any contrast then resemble each other
        prints.append(F.normalize(lowest))
    return torch.cat(prints)


def _copies(images: Tensor, prints: Tensor, queries: Tensor) -> list[tuple[int, int]]:
    """Those of the `queries` (indices) that have a copy, with its index."""
    likeness = prints[queries] @ prints.T  # (queries, N)
    likeness[torch.arange(len(queries)), queries] = -1.0
    candidates = likeness.topk(min(CANDIDATES, len(images) - 1)).indices
    compared = torch.stack([_unlikeness(images[queries], images[column]) for column in candidates.T], dim=1)
    distances, order = compared.sort(stable=True)
    nearest, others = distances[:, 0], distances[:, : CANDIDATES - 1][:, -1]
    copied = (nearest < SAME) | ((nearest < SIMILAR) & (nearest < STANDS_OUT * others))
    partners = candidates.gather(1, order)[:, 0]
    return list(zip(queries[copied].tolist(), partners[copied].tolist(), strict=True))


def _unlikeness(a: Tensor, b: Tensor) -> Tensor:
    """(n,) float32: 1 - correlation of uint8 (n, C, H, W) images, at the best of 9 shifts; 0 for equal bytes.

    The shift is found in grey; there the colours have to agree as well.
    """
    inner = a.shape[-1] - 2
    grey_a, grey_b = (images.float().mean(1, keepdim=True) for images in (a, b))
    shifts = [(y, x) for y in range(3) for x in range(3)]
    at = torch.stack([_correlation(_inside(grey_a), grey_b[..., y : y + inner, x : x + inner]) for y, x in shifts])
    best, where = at.max(0)
    if a.shape[1] > 1:
        shifted = [
            image[:, y : y + inner, x : x + inner] for image, (y, x) in zip(b, [shifts[i] for i in where], strict=True)
        ]
        best = torch.minimum(best, _correlation(_inside(a).float(), torch.stack(shifted).float()))
    return torch.where((a == b).flatten(1).all(1), 0.0, 1 - best)


def _inside(images: Tensor) -> Tensor:
    return images[..., 1:-1, 1:-1]


def _correlation(a: Tensor, b: Tensor) -> Tensor:
    a, b = a.flatten(1), b.flatten(1)
    a, b = a - a.mean(1, keepdim=True), b - b.mean(1, keepdim=True)
    lengths: Tensor = a.norm(dim=1) * b.norm(dim=1)
    return (a * b).sum(1) / lengths.clamp_min(1e-6)
