"""Changes to real and generated images before the critic sees them, so that it can't learn few images by heart."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from .objectives import RandLike

BLACK: Final = -1.0


def translated(images: Tensor, most: int, rand_like: RandLike = torch.rand_like) -> Tensor:
    """Shift each image by -most to most whole pixels along each axis; black moves in.

    Differentiable, as the generator's step needs it (DiffAugment; Zhao et al., 2020, arXiv:2006.10738). With shifts of
    the real images alone, the generator would learn to draw shifted ones.

    Args:
        images: (N, C, H, W) in [-1, 1].
        most: pixels, below H and W.
        rand_like: draws the shifts.

    Returns:
        (N, C, H, W) float32, channels last.
    """
    draws = rand_like(torch.empty(len(images), 2, device=images.device))
    shifts = (draws * (2 * most + 1)).floor() - most  # (N, 2)
    height, width = images.shape[2:]
    down, right = _moves(shifts[:, 0], height), _moves(shifts[:, 1], width).mT
    with torch.autocast(images.device.type, enabled=False):  # in float32, products with 0 and 1 are exact
        moved = down @ images.float() @ right
    came_in = 1 - down.sum(3, keepdim=True) * right.sum(2, keepdim=True)  # (N, 1, H, W)
    moved = moved + BLACK * came_in
    return moved.contiguous(memory_format=torch.channels_last)


def _moves(shifts: Tensor, size: int) -> Tensor:
    """(N,) whole numbers -> (N, 1, size, size): the matrices that move a column down by so many places."""
    places = torch.arange(size, device=shifts.device)
    return (places[:, None] - places[None, :] == shifts[:, None, None, None]).float()
