"""Generators with one planted fault each, and the code of the gate that must catch it; for tests and benchmarks."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gan_export.artifact import SAMPLER, ImageSpec, LatentSpec
from gan_export.sources.source import Source

LATENT_DIM = 8
CLASSES = 3
SIZE = 16


class Good(nn.Module):
    """(N, 8) and (N,) -> (N, 1, 16, 16) on [-1, 1]. Every class below breaks it in one way."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Embedding(CLASSES, 4)
        self.project = nn.Linear(LATENT_DIM + 4, 512)
        self.norm: nn.Module = nn.BatchNorm2d(8)
        nn.init.uniform_(self.norm.running_mean, -0.3, 0.3)
        nn.init.uniform_(self.norm.running_var, 0.1, 0.5)
        self.to_image = nn.ConvTranspose2d(8, 1, 4, stride=2, padding=1)

    def draw(self, z: Tensor, label: Tensor) -> Tensor:
        h = self.project(torch.cat([z, self.embed(label)], 1)).unflatten(1, (8, 8, 8))
        return 2 * self.to_image(torch.relu(self.norm(h)))

    def forward(self, z: Tensor, label: Tensor) -> Tensor:
        return torch.tanh(self.draw(z, label))


class NanWeight(Good):
    def __init__(self) -> None:
        super().__init__()
        nn.init.constant_(self.to_image.bias, float("nan"))


class Float16Overflow(Good):
    """Attention weights by hand, in half precision: exp overflows above 11."""

    def forward(self, z: Tensor, label: Tensor) -> Tensor:
        powers = (20 * self.draw(z, label).abs()).half().exp()
        share = powers / powers.sum((2, 3), keepdim=True)
        return torch.tanh(share.to(z.dtype) * SIZE - 1)


class DeafNorm(nn.BatchNorm2d):
    """In train mode whatever it is told, as BatchNorm layers with an overridden train() are."""

    def train(self, mode: bool = True) -> DeafNorm:  # noqa: ARG002 - that is its fault
        return super().train(True)


class ChildInTrainMode(Good):
    def __init__(self) -> None:
        super().__init__()
        self.norm = DeafNorm(8)


class HiddenChildInTrainMode(Good):
    """In a plain list, where neither eval() nor the state dict can see it."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = [nn.BatchNorm2d(8)]

    def draw(self, z: Tensor, label: Tensor) -> Tensor:
        h = self.project(torch.cat([z, self.embed(label)], 1)).unflatten(1, (8, 8, 8))
        return 2 * self.to_image(torch.relu(self.layers[0].to(h.dtype)(h)))


class NoRunningStatistics(Good):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(8, track_running_stats=False)


class NeighboursMatter(Good):
    def forward(self, z: Tensor, label: Tensor) -> Tensor:
        pixels = self.draw(z, label)
        return torch.tanh(pixels - 0.1 * pixels.amax(0, keepdim=True))


class MinibatchDeviation(Good):
    """A statistic of the whole batch, as discriminators have it."""

    def draw(self, z: Tensor, label: Tensor) -> Tensor:
        pixels = super().draw(z, label)
        return pixels + 0.01 * pixels.std(0, unbiased=False).mean()


class FirstLabelForAll(Good):
    def forward(self, z: Tensor, label: Tensor) -> Tensor:
        return super().forward(z, label[:1].expand(z.shape[0]))


class SeededNoise(Good):
    """Seeded in forward: the same batch gives the same images again, but each place in it has its own noise."""

    def forward(self, z: Tensor, label: Tensor) -> Tensor:
        noise = torch.randn(z.shape, generator=torch.Generator().manual_seed(7))
        return super().forward(z + 0.1 * noise.to(z.dtype), label)


class CountsItsCalls(Good):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, z: Tensor, label: Tensor) -> Tensor:
        self.calls += 0.01
        return torch.tanh(self.draw(z, label) + self.calls)


class DropoutStaysOn(Good):
    def forward(self, z: Tensor, label: Tensor) -> Tensor:
        return super().forward(F.dropout(z, 0.5, training=True), label)


class NoiseBesideLatents(Good):
    def forward(self, z: Tensor, label: Tensor) -> Tensor:
        return super().forward(z + 0.1 * torch.randn_like(z), label)


class NoiseInsteadOfLatents(Good):
    def forward(self, z: Tensor, label: Tensor) -> Tensor:
        return super().forward(torch.randn(z.shape, dtype=z.dtype), label)


class NoiseFrozenByTheExport(Good):
    """Noise drawn outside of torch: the graph holds one draw for ever, and gives the same image twice."""

    def forward(self, z: Tensor, label: Tensor) -> Tensor:
        noise = torch.tensor([random.random() for _ in range(LATENT_DIM)], dtype=z.dtype)
        return super().forward(z + noise, label)


class BatchBakedIn(Good):
    def forward(self, z: Tensor, label: Tensor) -> Tensor:
        return super().forward(z, label).reshape(3, 1, SIZE, SIZE)


class FewerClasses(Good):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(2, 4)


class WrongEps(Good):
    """Exported with an eps that it never had."""

    def forward(self, z: Tensor, label: Tensor) -> Tensor:
        self.norm.eps = 0.1 if torch.compiler.is_exporting() else 1e-5
        return super().forward(z, label)


class Transposed(Good):
    def forward(self, z: Tensor, label: Tensor) -> Tensor:
        pixels = super().forward(z, label)
        return pixels.transpose(2, 3) if torch.compiler.is_exporting() else pixels


class TruncatedByTheExport(Good):
    """The same but for latents beyond 3 standard deviations."""

    def forward(self, z: Tensor, label: Tensor) -> Tensor:
        return super().forward(z.clamp(-3, 3) if torch.compiler.is_exporting() else z, label)


class LastLabelLostInTheExport(Good):
    def forward(self, z: Tensor, label: Tensor) -> Tensor:
        return super().forward(z, label.clamp(max=CLASSES - 2) if torch.compiler.is_exporting() else label)


class ChannelsLast(Good):
    def forward(self, z: Tensor, label: Tensor) -> Tensor:
        return super().forward(z, label).permute(0, 2, 3, 1)


class TwiceTheSize(Good):
    def forward(self, z: Tensor, label: Tensor) -> Tensor:
        return F.interpolate(super().forward(z, label), scale_factor=2)


class SigmoidLast(Good):
    def forward(self, z: Tensor, label: Tensor) -> Tensor:
        return torch.sigmoid(self.draw(z, label))


class NothingLast(Good):
    def forward(self, z: Tensor, label: Tensor) -> Tensor:
        return 10 * self.draw(z, label)


class SlightlyOutside(Good):
    def forward(self, z: Tensor, label: Tensor) -> Tensor:
        return super().forward(z, label) * 1.00002


class LabelIgnored(Good):
    def forward(self, z: Tensor, label: Tensor) -> Tensor:
        return super().forward(z, torch.zeros_like(label))


class LabelModulo(Good):
    def forward(self, z: Tensor, label: Tensor) -> Tensor:
        return super().forward(z, label % 2)


class LatentsIgnored(Good):
    def forward(self, z: Tensor, label: Tensor) -> Tensor:
        return super().forward(z * 0, label)


class HalfOfLatentsIgnored(Good):
    def forward(self, z: Tensor, label: Tensor) -> Tensor:
        return super().forward(torch.cat([z[:, :4], torch.zeros_like(z[:, 4:])], 1), label)


class OneLatentIgnored(Good):
    def forward(self, z: Tensor, label: Tensor) -> Tensor:
        return super().forward(torch.cat([z[:, :5], z[:, 4:5], z[:, 6:]], 1), label)


def source_of(generator: Any) -> Source:
    """What all of these, and graphs of them, are declared as."""
    return Source(
        generator=generator,
        family="test/planted",
        hyperparameters={},
        latent=LatentSpec(dim=LATENT_DIM, distribution="normal", sampler=SAMPLER),
        image=ImageSpec(height=SIZE, width=SIZE, channels=1, mode="L", value_range=(-1.0, 1.0)),
        class_names=["a", "b", "c"],
        sha256="0" * 64,
        weights="raw",
        training={},
    )


@dataclass(frozen=True)
class Fault:
    """A broken generator, the code of the gate that catches it, and words that the message must have."""

    net: type[Good]
    code: str
    says: str

    @property
    def name(self) -> str:
        return self.net.__name__


FAULTS = (
    Fault(ChildInTrainMode, "evaluation_mode", "norm"),
    Fault(BatchBakedIn, "dynamic_batch", "batch"),
    Fault(FewerClasses, "dynamic_batch", "index"),
    Fault(ChannelsLast, "shape", r"\(N, 1, 16, 16\), found \(\d+, 16, 16, 1\)"),
    Fault(TwiceTheSize, "shape", r"\(N, 1, 16, 16\), found \(\d+, 1, 32, 32\)"),
    Fault(NanWeight, "finite", "NaN"),
    Fault(Float16Overflow, "finite", "overflows"),
    Fault(DropoutStaysOn, "deterministic", "dropout"),
    Fault(NoiseBesideLatents, "deterministic", "draws noise"),
    Fault(NoiseInsteadOfLatents, "deterministic", "draws noise"),
    Fault(NoiseFrozenByTheExport, "deterministic", "the module itself is not deterministic"),
    Fault(CountsItsCalls, "deterministic", "the module itself is not deterministic"),
    Fault(HiddenChildInTrainMode, "batch_invariant", "batch statistics"),
    Fault(NoRunningStatistics, "batch_invariant", "batch statistics"),
    Fault(NeighboursMatter, "batch_invariant", r"measured \d+ images"),
    Fault(MinibatchDeviation, "batch_invariant", "the module itself is not batch invariant"),
    Fault(FirstLabelForAll, "batch_invariant", "the module itself is not batch invariant"),
    Fault(SeededNoise, "batch_invariant", "the module itself is not batch invariant"),
    Fault(SigmoidLast, "value_range", r"found \S+ to [01].*sigmoid"),
    Fault(NothingLast, "value_range", r"found -\d+"),
    Fault(SlightlyOutside, "value_range", r"found -1\S* to 1\S*"),
    Fault(WrongEps, "tolerance", r"measured 0\.\d+.*limit is 0\.0001.*eps"),
    Fault(Transposed, "tolerance", "layout"),
    Fault(TruncatedByTheExport, "tolerance", "worst case: tails"),
    Fault(LastLabelLostInTheExport, "tolerance", "measured"),
    Fault(HalfOfLatentsIgnored, "latents_matter", "moving dimension 4 of the latent and 3 more changes no pixel"),
    Fault(OneLatentIgnored, "latents_matter", "moving dimension 5 of the latent changes no pixel"),
    Fault(LatentsIgnored, "latents_matter", "ignores its latents"),
    Fault(LabelIgnored, "labels_matter", "0 and 1 are identical"),
    Fault(LabelModulo, "labels_matter", "0 and 2 are identical"),
)
