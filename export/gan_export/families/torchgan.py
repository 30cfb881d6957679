"""torchgan: DCGAN, and its conditional and auxiliary classifier variants."""

from __future__ import annotations

from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from .family import Family, ForeignNet, Landmarks, MismatchError, label_needed

SLOPE = 0.2
BASE = 4  # pixels of the first feature map
MAX_DOUBLINGS = 10


class Dcgan(ForeignNet):
    """Transposed convolutions that double the size until `out_size`, halving the width from step to step.

    Args:
        label: `concat`: the label's embedding (K, K) stands behind z; `multiply`: z is multiplied with it (K, z).
    """

    def __init__(
        self,
        encoding_dims: int,
        out_size: int,
        out_channels: int,
        step_channels: int,
        num_classes: int = 0,
        *,
        label: Literal["concat", "multiply"] = "concat",
    ) -> None:
        super().__init__(encoding_dims, (out_channels, out_size, out_size), num_classes)
        self.label = label
        concat = label == "concat"
        if num_classes:
            self.label_embeddings = nn.Embedding(num_classes, num_classes if concat else encoding_dims)
        doublings = (out_size // BASE).bit_length() - 1
        widths = [step_channels * 2**i for i in reversed(range(doublings))]
        inputs = encoding_dims + (num_classes if concat else 0)
        layers = [_layer(inputs, widths[0], stride=1, padding=0)]
        layers += [_layer(width, width // 2, stride=2, padding=1) for width in widths[:-1]]
        last = nn.Sequential(nn.ConvTranspose2d(step_channels, out_channels, 4, 2, 1), nn.Tanh())
        self.model = nn.Sequential(*layers, last)

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        if self.classes:
            embedded = self.label_embeddings(label_needed(label, self.classes))
            z = torch.cat([z, embedded], dim=1) if self.label == "concat" else z * embedded
        image: Tensor = self.model(z[:, :, None, None])  # (N, z) -> (N, z, 1, 1) -> (N, C, H, W)
        return image


def _layer(width: int, narrower: int, stride: int, padding: int) -> nn.Module:
    return nn.Sequential(
        nn.ConvTranspose2d(width, narrower, 4, stride, padding, bias=False),
        nn.BatchNorm2d(narrower),
        nn.LeakyReLU(SLOPE),
    )


def _infer(keys: Landmarks) -> dict[str, int]:
    inputs, width, _, _ = keys.sizes("model.0.0.weight", 4)
    doublings = 0
    while f"model.{doublings + 1}.0.weight" in keys:
        doublings += 1
    if not 2 <= doublings <= MAX_DOUBLINGS:
        raise MismatchError(f"{doublings} layers 'model.N.0' after the first, where 2 to {MAX_DOUBLINGS} are known")
    step, channels, _, _ = keys.sizes(f"model.{doublings}.0.weight", 4)
    if width != step * 2 ** (doublings - 1):
        raise MismatchError(f"{doublings} layers halve the width from {width} to {step}")
    return {
        "encoding_dims": inputs,
        "out_size": BASE * 2**doublings,
        "out_channels": channels,
        "step_channels": step,
    }


def _infer_with_classes(keys: Landmarks) -> dict[str, int]:
    return {**_infer(keys), "num_classes": keys.sizes("label_embeddings.weight", 2)[0]}


def _infer_concat(keys: Landmarks) -> dict[str, int]:
    sizes = _infer_with_classes(keys)
    latent_dim = sizes["encoding_dims"] - sizes["num_classes"]
    if latent_dim < 1:
        raise MismatchError(f"'model.0.0.weight' takes {sizes['encoding_dims']} values, where a label leaves no latent")
    return {**sizes, "encoding_dims": latent_dim}


COMPUTES = "transposed convolutions, BatchNorm eps 1e-5, LeakyReLU 0.2"
NOTE = "Its nonlinearities are arguments, of which LeakyReLU 0.2 and tanh are the defaults."
TYPICAL = {"encoding_dims": 100, "out_size": 32, "out_channels": 3, "step_channels": 64}
TYPICAL_WITH_CLASSES = {**TYPICAL, "num_classes": 10}

DCGAN = Family(
    name="torchgan/dcgan",
    computes=COMPUTES,
    net=Dcgan,
    infer=_infer,
    typical=TYPICAL,
    note=NOTE,
)
CGAN = Family(
    name="torchgan/cgan",
    computes=f"the label's embedding behind z, {COMPUTES}",
    net=partial(Dcgan, label="concat"),
    infer=_infer_concat,
    typical=TYPICAL_WITH_CLASSES,
    note=NOTE,
)
ACGAN = Family(
    name="torchgan/acgan",
    computes=f"the label's embedding times z, {COMPUTES}",
    net=partial(Dcgan, label="multiply"),
    infer=_infer_with_classes,
    typical=TYPICAL_WITH_CLASSES,
    note=NOTE,
)
