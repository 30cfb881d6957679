"""PyTorch-StudioGAN `deep_conv`, unconditional, 32 pixels."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

from torch import Tensor, nn

from .family import Family, ForeignNet, Landmarks
from .question import Question, batch_norm_eps

WIDTHS = (512, 256, 128, 64)
BASE = 4  # pixels of the first feature map
CHANNELS = 3
SIZE = 32


class Block(nn.Module):
    """(N, c, h, w) -> (N, c / 2, 2h, 2w)."""

    def __init__(self, width: int, narrower: int, eps: float) -> None:
        super().__init__()
        self.deconv0 = nn.ConvTranspose2d(width, narrower, 4, 2, 1)
        self.bn0 = nn.BatchNorm2d(narrower, eps)
        self.activation = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.activation(self.bn0(self.deconv0(x)))
        return y


class DeepConv(ForeignNet):
    """A linear layer and three transposed convolutions, then one convolution."""

    def __init__(self, z_dim: int, *, eps: float = 1e-4) -> None:
        super().__init__(latent_dim=z_dim, image_shape=(CHANNELS, SIZE, SIZE))
        self.linear0 = nn.Linear(z_dim, WIDTHS[0] * BASE**2)
        # Each block is in a list of its own: that is in the keys.
        self.blocks = nn.Sequential(*(nn.Sequential(Block(wide, narrow, eps)) for wide, narrow in pairwise(WIDTHS)))
        self.conv4 = nn.Conv2d(WIDTHS[-1], CHANNELS, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        x = self.linear0(z).unflatten(1, (-1, BASE, BASE))  # (N, z) -> (N, 512, 4, 4)
        image: Tensor = self.conv4(self.blocks(x)).tanh()  # -> (N, 3, 32, 32)
        return image


def _infer(keys: Landmarks) -> dict[str, int]:
    return {"z_dim": keys.sizes("linear0.weight", 2)[1]}


def _ask(_: Mapping[str, int]) -> tuple[Question, ...]:
    return (batch_norm_eps(1e-4, "this repository's", "1e-05 (PyTorch's own) if the code was changed"),)


DEEP_CONV = Family(
    name="studiogan/deep_conv",
    computes="transposed convolutions, BatchNorm eps 1e-4, ReLU",
    net=DeepConv,
    infer=_infer,
    typical={"z_dim": 100},
    ask=_ask,
    note="Its configuration file may name another activation than ReLU.",
)
