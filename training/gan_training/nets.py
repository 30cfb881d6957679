"""Generator and critic, built from a spec.

DCGAN shapes (Radford, Metz & Chintala, 2015, arXiv:1511.06434): strided and transposed convolutions, no pooling.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from .specs import CriticSpec, GeneratorSpec, Latent, halvings


class CriticOutput(NamedTuple):
    """What a critic gives for a batch."""

    score: Tensor  # (N,) a logit, or an unbounded score for Wasserstein objectives
    class_logits: Tensor | None = None  # (N, K) with an auxiliary classifier


class Generator(nn.Module):
    """(N, latent_dim) float and, when conditional, (N,) int64 -> (N, C, H, W) in [-1, 1].

    With `mapping_layers`, a small net stands before the first feature map: one linear layer can't send a connected
    cloud of latents to classes that lie apart. It is StyleGAN's mapping network (Karras et al., 2019, arXiv:1812.04948)
    with residual layers that add nothing at first: otherwise runs began with samples all alike.
    """

    def __init__(self, spec: GeneratorSpec) -> None:
        super().__init__()
        self.spec = spec
        self.base, doublings = halvings(spec.image_size)
        widths = [min(spec.width * 2**i, spec.max_width) for i in reversed(range(doublings))]
        inputs = spec.latent_dim + (spec.embed_dim if spec.classes else 0)
        self.embed = nn.Embedding(spec.classes, spec.embed_dim) if spec.classes else None
        self.mapping = _mapping(inputs, spec) if spec.mapping_layers else None
        inputs = spec.mapping_width if spec.mapping_layers else inputs
        self.project = nn.Linear(inputs, widths[0] * self.base**2, bias=False)
        self.project_norm = _batch_norm(widths[0], spec)
        self.act = _activation(spec.slope, spec.ceiling)
        blocks: list[nn.Module] = []
        for width, narrower in pairwise(widths):
            blocks += [
                *_double(width, narrower, spec, bias=False),
                _batch_norm(narrower, spec),
                _activation(spec.slope, spec.ceiling),
                *([nn.Dropout(spec.dropout)] if spec.dropout else []),
            ]
        self.blocks = nn.Sequential(*blocks)
        self.to_image = nn.Sequential(*_double(widths[-1], spec.channels, spec, bias=True), nn.Tanh())
        self.apply(_init_dcgan)
        if self.mapping is not None:
            _init_mapping(self.mapping)

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """Latents, and labels where there are classes, to images; ValueError where labels are missing."""
        if self.embed is not None:
            if label is None:
                raise ValueError(f"this generator has {self.spec.classes} classes: pass labels")
            z = torch.cat([z, self.embed(label)], dim=1)  # (N, z) -> (N, z + embed)
        if self.mapping is not None:
            z = self.mapping(z)  # (N, z) -> (N, mapping_width)
        x = self.project(z).unflatten(1, (-1, self.base, self.base))  # (N, z) -> (N, W, base, base)
        if self.training and self._is_channels_last:
            x = x.contiguous(memory_format=torch.channels_last)
        x = self.act(self.project_norm(x))
        image: Tensor = self.to_image(self.blocks(x))  # (N, W, base, base) -> (N, C, H, W)
        return image

    @property
    def _is_channels_last(self) -> bool:
        """Whether gradients will come back from the convolutions in that order. ReLU's own took 28 times as long where
        they met a feature map in the other one."""
        kernels = (weight for weight in self.blocks.parameters() if weight.dim() == 4)
        return all(weight.is_contiguous(memory_format=torch.channels_last) for weight in kernels)


class Critic(nn.Module):
    """(N, C, H, W) in [-1, 1] and, where it sees labels, (N,) int64 -> CriticOutput.

    `label_head`: `concat` sees the label as one more image plane (Mirza & Osindero, 2014, arXiv:1411.1784);
    `projection` adds the inner product of features and class embedding (Miyato & Koyama, 2018, arXiv:1802.05637);
    `auxiliary` ignores the label and classifies instead (Odena et al., 2017, arXiv:1610.09585).
    """

    def __init__(self, spec: CriticSpec) -> None:
        super().__init__()
        self.spec = spec
        self.mixes_batch = spec.norm == "batch"  # otherwise what it says of an image depends on that image alone
        self.base, doublings = halvings(spec.image_size)
        widths = [min(spec.width * 2**i, spec.max_width) for i in range(doublings)]
        planes = spec.channels + (1 if spec.label_head == "concat" else 0)
        blocks: list[nn.Module] = []
        for i, (width, wider) in enumerate(pairwise([planes, *widths])):
            # DCGAN leaves BatchNorm out of the critic's first layer.
            normed = spec.norm == "batch" and i > 0
            blocks.append(nn.Conv2d(width, wider, 4, stride=2, padding=1, bias=not normed))
            blocks += [_batch_norm(wider, spec)] if normed else []
            blocks.append(_activation(spec.slope))
        self.blocks = nn.Sequential(*blocks)
        features = widths[-1] * self.base**2
        self.hidden = nn.Linear(features, spec.hidden) if spec.hidden else None
        self.act = _activation(spec.slope)
        features = spec.hidden or features
        self.score = nn.Linear(features, 1)
        head, classes = spec.label_head, spec.classes
        self.plane = nn.Embedding(classes, spec.image_size**2) if head == "concat" else None
        self.projection = nn.Embedding(classes, features) if head == "projection" else None
        self.classify = nn.Linear(features, classes) if head == "auxiliary" else None
        self.apply(_init_dcgan)
        if spec.norm == "spectral":
            for module in list(self.modules()):
                if isinstance(module, nn.Conv2d | nn.Linear) or module is self.projection:
                    spectral_norm(module)

    def forward(self, images: Tensor, label: Tensor | None = None) -> CriticOutput:
        """Labels (N,) are needed by the heads `concat` and `projection`, and ignored by the others."""
        if self.plane is not None:
            plane = self.plane(label).view(-1, 1, *images.shape[2:])  # (N, H*W) -> (N, 1, H, W)
            images = torch.cat([images, plane.to(images.dtype)], dim=1)
        h: Tensor = _Flat.apply(self.blocks(images))  # type: ignore[no-untyped-call]  # (N, C, H, W) -> (N, C * H * W)
        if self.hidden is not None:
            h = self.act(self.hidden(h))  # -> (N, hidden)
        score = self.score(h).squeeze(1).float()
        if self.projection is not None:
            score = score + (self.projection(label) * h).sum(1).float()
        if self.classify is None:
            return CriticOutput(score)
        return CriticOutput(score, self.classify(h).float())


class _Flat(torch.autograd.Function):
    """(N, C, H, W) -> (N, C * H * W), and for gradients back to what convolutions read fastest: channels last.

    Without that, every layer before would compute with gradients that lie in another order than its values. Images are
    put in order and not the weights behind: these may be many times as large.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.shape = x.shape
        return x.flatten(1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0].view(ctx.shape).contiguous(memory_format=torch.channels_last)


def draw_latents(n: int, dim: int, latent: Latent, rng: torch.Generator) -> Tensor:
    """(n, dim) float32 from N(0, 1), or uniform on [-1, 1], on the CPU so that every device draws the same."""
    if latent == "normal":
        return torch.randn(n, dim, generator=rng)
    return torch.rand(n, dim, generator=rng).mul_(2).sub_(1)


class _Residual(nn.Module):
    """(N, width) -> (N, width): the input, and what a fully connected layer adds to it."""

    def __init__(self, width: int, spec: GeneratorSpec) -> None:
        super().__init__()
        self.linear = nn.Linear(width, width, bias=False)
        self.norm = nn.BatchNorm1d(width, eps=spec.norm_eps, momentum=spec.norm_momentum)

    def forward(self, x: Tensor) -> Tensor:
        return x + F.leaky_relu(self.norm(self.linear(x)), 0.2)


def _mapping(inputs: int, spec: GeneratorSpec) -> nn.Sequential:
    """(N, inputs) -> (N, mapping_width)."""
    width = spec.mapping_width
    return nn.Sequential(
        nn.Linear(inputs, width, bias=False), *(_Residual(width, spec) for _ in range(spec.mapping_layers))
    )


def _init_mapping(mapping: nn.Sequential) -> None:
    """Begins as a linear layer: the residual layers' BatchNorm scales are 0 (Goyal et al., 2017, arXiv:1706.02677)."""
    for layer in mapping:
        if isinstance(layer, _Residual):
            nn.init.zeros_(layer.norm.weight)
        elif isinstance(layer, nn.Linear):  # no normalisation follows: values as large as the latent's
            nn.init.normal_(layer.weight, 0.0, layer.in_features**-0.5)


def _double(width: int, out: int, spec: GeneratorSpec, *, bias: bool) -> list[nn.Module]:
    """Layers that double height and width: (N, width, s, s) -> (N, out, 2s, 2s)."""
    if spec.upsample == "transpose":
        return [nn.ConvTranspose2d(width, out, 4, stride=2, padding=1, bias=bias)]
    return [nn.Upsample(scale_factor=2, mode="nearest"), nn.Conv2d(width, out, 3, padding=1, bias=bias)]


def _activation(slope: float, ceiling: float = 0.0) -> nn.Module:
    if ceiling:
        return nn.Hardtanh(0.0, ceiling, inplace=True)
    return nn.LeakyReLU(slope, inplace=True) if slope else nn.ReLU(inplace=True)


def _batch_norm(width: int, spec: GeneratorSpec | CriticSpec) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(width, eps=spec.norm_eps, momentum=spec.norm_momentum)


def _init_dcgan(module: nn.Module) -> None:
    """Weights from N(0, 0.02), BatchNorm scales from N(1, 0.02), as in the DCGAN paper."""
    if isinstance(module, nn.Embedding):
        nn.init.normal_(module.weight, 0.0, 1.0 / module.embedding_dim**0.5)
    elif isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
        nn.init.normal_(module.weight, 0.0, 0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)
