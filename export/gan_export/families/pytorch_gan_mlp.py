"""eriklindernoren/PyTorch-GAN, the fully connected generators: gan, wgan, wgan_gp and cgan."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import torch
from torch import Tensor, nn

from gan_export.conventions import ImageShape

from .family import Family, ForeignNet, Landmarks, MismatchError, label_needed
from .pytorch_gan_conv import SLOPE, ask_eps
from .question import Question, ask_image_shape

WIDTHS = (128, 256, 512, 1024)


class Perceptron(ForeignNet):
    """Five linear layers; BatchNorm after all but the first and the last.

    Args:
        values: numbers in an image.
        n_classes: with classes, the label's embedding stands before z.
        image_shape: how the values are an image; they stay in a row without it.
        eps: of every BatchNorm.
    """

    def __init__(
        self,
        latent_dim: int,
        values: int,
        n_classes: int = 0,
        *,
        image_shape: ImageShape | None = None,
        eps: float = 0.8,
    ) -> None:
        super().__init__(latent_dim, image_shape or (1, 1, values), n_classes)
        self.label_emb = nn.Embedding(n_classes, n_classes) if n_classes else None
        layers: list[nn.Module] = [nn.Linear(n_classes + latent_dim, WIDTHS[0]), nn.LeakyReLU(SLOPE)]
        for narrow, wide in pairwise(WIDTHS):
            layers += [nn.Linear(narrow, wide), nn.BatchNorm1d(wide, eps), nn.LeakyReLU(SLOPE)]
        self.model = nn.Sequential(*layers, nn.Linear(WIDTHS[-1], values), nn.Tanh())

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        if self.label_emb is not None:
            z = torch.cat([self.label_emb(label_needed(label, self.classes)), z], dim=1)  # -> (N, K + z)
        image: Tensor = self.model(z).unflatten(1, self.image_shape)  # (N, values) -> (N, C, H, W)
        return image


def _infer(keys: Landmarks) -> dict[str, int]:
    _, inputs = keys.sizes("model.0.weight", 2)
    values, _ = keys.sizes("model.11.weight", 2)
    return {"latent_dim": inputs, "values": values}


def _infer_with_classes(keys: Landmarks) -> dict[str, int]:
    sizes = _infer(keys)
    classes, _ = keys.sizes("label_emb.weight", 2)
    if sizes["latent_dim"] <= classes:
        raise MismatchError(
            f"'model.0.weight' takes {sizes['latent_dim']} values, where {classes} of a label leave no latent"
        )
    return {"latent_dim": sizes["latent_dim"] - classes, "values": sizes["values"], "n_classes": classes}


def _ask(sizes: Mapping[str, int]) -> tuple[Question, ...]:
    return (ask_image_shape(sizes["values"]), *ask_eps(sizes))


COMPUTES = "linear layers, BatchNorm eps 0.8, LeakyReLU 0.2"

GAN, WGAN, WGAN_GP = (
    Family(
        name=name,
        computes=COMPUTES,
        net=Perceptron,
        infer=_infer,
        typical={"latent_dim": 100, "values": 28 * 28},
        ask=_ask,
    )
    for name in ("pytorch-gan/gan", "pytorch-gan/wgan", "pytorch-gan/wgan_gp")
)
CGAN = Family(
    name="pytorch-gan/cgan",
    computes=f"the label's embedding before z, {COMPUTES}",
    net=Perceptron,
    infer=_infer_with_classes,
    typical={"latent_dim": 100, "values": 32 * 32, "n_classes": 10},
    ask=_ask,
)
