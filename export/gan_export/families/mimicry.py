"""kwotsin/mimicry, residual generators of 32 pixels: SNGAN, DCGAN, and the DCGAN for CIFAR, which ends in a sigmoid."""

from __future__ import annotations

from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .family import Family, ForeignNet, Landmarks

BASE = 4  # pixels of the first feature map
CHANNELS = 3


class ResidualBlock(nn.Module):
    """Pre-activation block that doubles the size; (N, c, h, w) -> (N, c, 2h, 2w)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.b1, self.b2 = nn.BatchNorm2d(width), nn.BatchNorm2d(width)
        self.c1, self.c2 = nn.Conv2d(width, width, 3, padding=1), nn.Conv2d(width, width, 3, padding=1)
        self.c_sc = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, width, s, s) -> (N, width, 2s, 2s)."""
        h = self.c1(_double(F.relu(self.b1(x))))
        h = self.c2(F.relu(self.b2(h)))
        y: Tensor = h + self.c_sc(_double(x))
        return y


class ResidualGenerator(ForeignNet):
    """Miyato et al., 2018, arXiv:1802.05957, table 4."""

    def __init__(self, nz: int, ngf: int, ends_in: Literal["tanh", "sigmoid"] = "tanh") -> None:
        super().__init__(latent_dim=nz, image_shape=(CHANNELS, 8 * BASE, 8 * BASE))
        self.l1 = nn.Linear(nz, ngf * BASE**2)
        self.block2, self.block3, self.block4 = (ResidualBlock(ngf) for _ in range(3))
        self.b5 = nn.BatchNorm2d(ngf)
        self.c5 = nn.Conv2d(ngf, CHANNELS, 3, padding=1)
        self.ends_in = ends_in

    def forward(self, z: Tensor) -> Tensor:
        h = self.l1(z).unflatten(1, (-1, BASE, BASE))  # (N, nz) -> (N, ngf, 4, 4)
        h = self.block4(self.block3(self.block2(h)))  # -> (N, ngf, 32, 32)
        h = self.c5(F.relu(self.b5(h)))
        return torch.sigmoid(h) if self.ends_in == "sigmoid" else torch.tanh(h)


def _double(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


def _infer(keys: Landmarks) -> dict[str, int]:
    _, nz = keys.sizes("l1.weight", 2)
    _, ngf, _, _ = keys.sizes("c5.weight", 4)
    return {"nz": nz, "ngf": ngf}


def _family(name: str, ends_in: Literal["tanh", "sigmoid"], note: str) -> Family:
    return Family(
        name=name,
        computes="residual blocks, bilinear upsampling, BatchNorm eps 1e-5, ReLU",
        net=partial(ResidualGenerator, ends_in=ends_in),
        infer=_infer,
        typical={"nz": 128, "ngf": 256},
        note=note,
        ends_in=ends_in,
    )


TANH_NOTE = "mimicry/dcgan-cifar has the same keys and ends in a sigmoid."

SNGAN_32 = _family("mimicry/sngan-32", "tanh", TANH_NOTE)
DCGAN_32 = _family("mimicry/dcgan-32", "tanh", TANH_NOTE)
DCGAN_CIFAR = _family(
    "mimicry/dcgan-cifar", "sigmoid", "The other nets of 32 pixels have the same keys and end in tanh."
)
