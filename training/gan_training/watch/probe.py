"""Fresh samples, measured: how diverse they are beside real images. Cheap enough for every hundredth step.

Distances are taken in the principal components of the real images' pixels: no net has to be trained for that, and
what a collapsed generator lacks (spread, spread within a class, whole classes, the corners of the data) shows there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gan_training.data import ImageData
from gan_training.metrics.diversity import mean_pairwise_distance
from gan_training.metrics.prdc import neighbour_radii, prdc
from gan_training.nets import Generator, draw_latents
from gan_training.specs import GeneratorSpec

REFERENCE: Final = 2000  # real images that the components and class means are computed from
SAMPLES: Final = 500  # fresh samples each time, compared with as many real images
COMPONENTS: Final = 50
EDGE: Final = 32  # pixels; larger images are averaged down first
NEIGHBOURS: Final = 3
FEWEST: Final = 8  # images of a class below which its spread says nothing
COVERED: Final = 0.1  # share of a class's real frequency at which samples count as covering it
EXPECTED: Final = 5  # samples of a class, below which it is missed by chance too often to be judged
RIDGE: Final = 1e-3  # of the mean variance, so that few images still give an invertible covariance


@dataclass(frozen=True)
class DiversityMetrics:
    """What is measured of fresh samples."""

    diversity: float  # mean pairwise distance of samples over that of real images; 1 is as diverse
    spacing: float  # nearest over mean distance between samples, relative to the same of real images
    recall: float  # share of real images that have a sample nearby (Kynkaanniemi et al., 2019)
    classes_covered: float | None  # share of the data's classes that occur among the samples; None if none is judged
    class_diversity: float | None  # diversity within each class, the least of them; None for unconditional nets

    def to_dict(self) -> dict[str, float]:
        """What was measured, by name."""
        return {name: value for name, value in vars(self).items() if value is not None}


class DiversityProbe:
    """Measures the samples of a generator without touching it, its BatchNorm statistics, or any random state.

    Args:
        data: what the generator learns.
        spec: of the generator.
        seed: chooses the real images and the latents, which differ from step to step.
    """

    def __init__(self, data: ImageData, spec: GeneratorSpec, seed: int) -> None:
        self.spec, self.seed = spec, seed
        chosen = torch.randperm(len(data), generator=torch.Generator().manual_seed(seed))[:REFERENCE]
        self.labels = None if data.labels is None else data.labels[chosen]
        pixels = _pixels(data.images[chosen].float() / 127.5 - 1)
        self.mean = pixels.mean(0)
        centred = pixels - self.mean
        self.basis = torch.linalg.svd(centred, full_matrices=False).Vh[:COMPONENTS].T  # (pixels, components)
        self.real = centred @ self.basis  # (REFERENCE, components)
        self.classifier = None if self.labels is None else _Discriminant(self.real, self.labels, data.classes)

    @torch.no_grad()
    def measure(self, generator: nn.Module, step: int) -> DiversityMetrics:
        """Draw fresh samples as training does (BatchNorm on batch statistics) and compare; same step, same samples."""
        n = min(SAMPLES, len(self.real))
        labels = self.labels[:n] if self.spec.classes and self.labels is not None else None
        return self.compare(self._draw(generator, n, labels, step), labels)

    def compare(self, images: Tensor, labels: Tensor | None = None) -> DiversityMetrics:
        """Compare (N, C, H, W) float samples in [-1, 1] with as many real images; `labels`: the classes asked for."""
        fake = (_pixels(images) - self.mean) @ self.basis
        real = self.real[: len(fake)]
        spread = mean_pairwise_distance(real)
        return DiversityMetrics(
            diversity=mean_pairwise_distance(fake) / spread if spread else 1.0,
            spacing=_crowding(fake) / max(_crowding(real), 1e-9),
            recall=prdc(real, fake, NEIGHBOURS).recall if len(fake) > NEIGHBOURS else 0.0,
            classes_covered=None if self.classifier is None else self.classifier.covered(real, fake),
            class_diversity=None if labels is None else _least_class_diversity(real, fake, labels),
        )

    def _draw(self, generator: nn.Module, n: int, labels: Tensor | None, step: int) -> Tensor:
        device = next(generator.parameters()).device
        rng = torch.Generator().manual_seed((self.seed * 1_000_003 + step) % 2**63)  # what torch takes
        z = draw_latents(n, self.spec.latent_dim, self.spec.latent, rng).to(device)
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            # A copy, as BatchNorm counts every batch it sees; built anew, as layers may be shared with other processes.
            net = Generator(self.spec).to(device)
            net.load_state_dict(generator.state_dict())
            images: Tensor = net.train()(z, None if labels is None else labels.to(device))
        return images.float().cpu()


class _Discriminant:
    """Linear discriminant analysis (Fisher, 1936): the class whose mean is closest, by the classes' own covariance."""

    def __init__(self, features: Tensor, labels: Tensor, classes: int) -> None:
        means = torch.stack([features[labels == c].mean(0) for c in range(classes)]).nan_to_num(0.0)
        within = features - means[labels]
        covariance = within.T @ within / len(features)
        ridge = RIDGE * covariance.diagonal().mean() + torch.finfo(torch.float32).tiny
        self.classes = classes
        self.weight = torch.linalg.solve(covariance + ridge * torch.eye(len(covariance)), means.T)
        self.bias = -0.5 * (means.T * self.weight).sum(0)
        self.frequencies = self._counts(features) / len(features)

    def covered(self, real: Tensor, fake: Tensor) -> float | None:
        """Share of the classes found in `real` that are found in `fake`, at a tenth of that frequency or more.

        Of classes that so many images have EXPECTED of; None where there is none.
        """
        expected, found = self._counts(real), self._counts(fake)
        judged = (expected > 0) & (self.frequencies * len(fake) >= EXPECTED)
        return float((found >= COVERED * expected)[judged].float().mean()) if judged.any() else None

    def _counts(self, features: Tensor) -> Tensor:
        return torch.bincount((features @ self.weight + self.bias).argmax(1), minlength=self.classes)


def _crowding(features: Tensor) -> float:
    """Median distance to the nearest other row over the mean distance: small where rows lie on few points or curves."""
    mean = mean_pairwise_distance(features)
    return float(neighbour_radii(features, 1).median()) / mean if mean else 0.0


def _least_class_diversity(real: Tensor, fake: Tensor, labels: Tensor) -> float | None:
    ratios = []
    for label in torch.unique(labels):
        members = labels == label
        spread = mean_pairwise_distance(real[members])
        if members.sum() >= FEWEST and spread:
            ratios.append(mean_pairwise_distance(fake[members]) / spread)
    return min(ratios, default=None)


def _pixels(images: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, pixels), no more than EDGE in height and width."""
    if images.shape[-1] > EDGE:
        images = F.adaptive_avg_pool2d(images, EDGE)
    return images.flatten(1)
