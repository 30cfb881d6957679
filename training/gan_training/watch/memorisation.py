"""Memorisation: are samples closer to training images than those are to each other?"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor
from torch.nn import functional as F

from gan_training.data import ImageData
from gan_training.metrics.neighbours import Nearest, relative_distance

from .duplicates import distinct

CANDIDATES: Final = 32  # training images with the closest thumbnails, among which the closest image is looked for
EDGE: Final = 8  # pixels of a thumbnail
_NUMBERS: Final = 2**25  # of images that are held as floats at once: 128 MiB


class MemorisationCheck:
    """Compares samples with the training set by L1 distance in pixels, as gan-eval does, but looks at fewer images.

    What a copy is closer than: the distance of the training image that it copies to the next other one, which is what
    a new image of that kind would have; so no image has to be kept from training.
    """

    def __init__(self, data: ImageData) -> None:
        self.images = data.images
        self.rows = distinct(data.images)  # many equal images would be all candidates, and no neighbours of each other
        at_once = max(1, _NUMBERS // data.images[0].numel())
        self.thumbnails = torch.cat([_thumbnails(data.images[rows]) for rows in torch.split(self.rows, at_once)])

    def check(self, samples: Tensor) -> tuple[float, Nearest]:
        """uint8 (N, C, H, W) samples -> `relative_distance` (1: as new as real images), and the neighbours."""
        nearest = self._nearest(samples)
        own = self._nearest(self.images[nearest.indices], others=True)
        ratio = relative_distance(nearest.distances, own.distances)
        # Where real images are themselves copies of each other, nothing can be said of samples.
        return 1.0 if ratio is None else ratio, nearest

    def _nearest(self, queries: Tensor, *, others: bool = False) -> Nearest:
        """`others`: training images that are equal to the query don't count."""
        distances = torch.cdist(_thumbnails(queries), self.thumbnails)  # (N, M)
        count = min(CANDIDATES, len(self.rows))
        candidates = self.rows[distances.topk(count, largest=False).indices]  # (N, count)
        at_once = max(1, _NUMBERS // (count * queries[0].numel()))
        difference = torch.cat(
            [
                (self.images[rows].float() - part[:, None].float()).abs().flatten(2).mean(2)
                for rows, part in zip(torch.split(candidates, at_once), torch.split(queries, at_once), strict=True)
            ]
        )
        best = (difference.masked_fill(difference == 0, torch.inf) if others else difference).min(1)
        return Nearest(best.values, candidates.gather(1, best.indices[:, None]).squeeze(1))


def _thumbnails(images: Tensor) -> Tensor:
    """uint8 (N, C, H, W) -> (N, C * 64) float32."""
    return F.adaptive_avg_pool2d(images.float(), EDGE).flatten(1)
