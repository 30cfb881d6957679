"""eriklindernoren/PyTorch-GAN, the convolutional generators: dcgan, dragan, acgan and sgan."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from math import isqrt

from torch import Tensor, nn

from .family import Family, ForeignNet, Landmarks, label_needed
from .question import Question, batch_norm_eps

WIDTH = 128
SLOPE = 0.2


class UpsamplingGenerator(ForeignNet):
    """A linear layer, then twice: nearest upsampling, convolution, BatchNorm.

    Args:
        n_classes: rows of the label embedding; 0 if there is none.
        uses_label: whether z is multiplied with it, or it lies unused among the weights.
        eps: of every BatchNorm but the first, which has PyTorch's own.
    """

    def __init__(
        self,
        latent_dim: int,
        img_size: int,
        channels: int,
        n_classes: int = 0,
        *,
        uses_label: bool = False,
        eps: float = 0.8,
    ) -> None:
        super().__init__(latent_dim, (channels, img_size, img_size), n_classes if uses_label else 0)
        self.base = img_size // 4
        self.label_emb = nn.Embedding(n_classes, latent_dim) if n_classes else None
        self.l1 = nn.Sequential(nn.Linear(latent_dim, WIDTH * self.base**2))
        self.conv_blocks = nn.Sequential(
            nn.BatchNorm2d(WIDTH),
            *_double(WIDTH, WIDTH, eps),
            *_double(WIDTH, WIDTH // 2, eps),
            nn.Conv2d(WIDTH // 2, channels, 3, padding=1),
            nn.Tanh(),
        )

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        if self.label_emb is not None and self.classes:
            z = self.label_emb(label_needed(label, self.classes)) * z
        x = self.l1(z).unflatten(1, (WIDTH, self.base, self.base))  # (N, z) -> (N, 128, s, s)
        image: Tensor = self.conv_blocks(x)  # -> (N, C, 4s, 4s)
        return image


def _double(width: int, narrower: int, eps: float) -> list[nn.Module]:
    return [
        nn.Upsample(scale_factor=2),
        nn.Conv2d(width, narrower, 3, padding=1),
        nn.BatchNorm2d(narrower, eps),
        nn.LeakyReLU(SLOPE),
    ]


def _infer(keys: Landmarks) -> dict[str, int]:
    rows, latent_dim = keys.sizes("l1.0.weight", 2)
    channels, _, _, _ = keys.sizes("conv_blocks.9.weight", 4)
    return {"latent_dim": latent_dim, "img_size": 4 * max(1, isqrt(rows // WIDTH)), "channels": channels}


def _infer_with_classes(keys: Landmarks) -> dict[str, int]:
    return {**_infer(keys), "n_classes": keys.sizes("label_emb.weight", 2)[0]}


def ask_eps(_: Mapping[str, int]) -> tuple[Question, ...]:
    """The question that all nets of this repository raise."""
    origin = "what BatchNorm(c, 0.8) sets in this repository"
    return (batch_norm_eps(0.8, origin, "1e-05 (PyTorch's own) if the 0.8 was made a momentum"),)


COMPUTES = "nearest upsampling, BatchNorm eps 0.8, LeakyReLU 0.2"
NOTE = (
    "An infogan of this repository has the same keys: its latent is noise, a one-hot class and a code side by side, "
    "which plain normal latents do not give."
)
TYPICAL = {"latent_dim": 100, "img_size": 32, "channels": 1}
TYPICAL_WITH_CLASSES = {**TYPICAL, "n_classes": 10}

DCGAN, DRAGAN = (
    Family(
        name=name,
        computes=COMPUTES,
        net=UpsamplingGenerator,
        infer=_infer,
        typical=TYPICAL,
        ask=ask_eps,
        note=NOTE,
    )
    for name in ("pytorch-gan/dcgan", "pytorch-gan/dragan")
)
ACGAN = Family(
    name="pytorch-gan/acgan",
    computes=f"the label's embedding times z, {COMPUTES}",
    net=partial(UpsamplingGenerator, uses_label=True),
    infer=_infer_with_classes,
    typical=TYPICAL_WITH_CLASSES,
    ask=ask_eps,
    note="An sgan of this repository has the same keys and ignores the label.",
)
SGAN = Family(
    name="pytorch-gan/sgan",
    computes=f"a label embedding that is never used, {COMPUTES}",
    net=UpsamplingGenerator,
    infer=_infer_with_classes,
    typical=TYPICAL_WITH_CLASSES,
    ask=ask_eps,
    note="An acgan of this repository has the same keys and multiplies the label's embedding with z.",
)
