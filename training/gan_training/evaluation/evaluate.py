"""Evaluate images, whoever made them, against real data: all by the same metrics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gan_training.data import DataError, ImageData
from gan_training.data.source import ProgressFn
from gan_training.metrics.agreement import class_agreement, class_shares
from gan_training.metrics.checkerboard import checkerboard_energy
from gan_training.metrics.diversity import relative_diversity
from gan_training.metrics.features import HELD_OUT, FeatureExtractor
from gan_training.metrics.frechet import frechet_distance
from gan_training.metrics.neighbours import Nearest, memorisation_ratio, nearest_neighbours
from gan_training.metrics.prdc import NEIGHBOURS, prdc
from gan_training.metrics.subsample import subsample

from .samples import Samples

REAL_IMAGES = 5000  # real test images, for precision and recall
GENERATED_IMAGES = 10_000  # samples at most, and as many training images, for precision and recall
COMPARED = 500  # samples whose nearest training image is looked for
NEIGHBOURS_SHOWN = 16
SPLIT_BYTES = 2 * 2**30  # of images that `split` takes into memory
MEANINGS = {
    "frechet_distance": "Frechet distance to real training images; lower is better",
    "precision": "share of samples that look real",
    "recall": "share of real images that samples cover",
    "density": "samples per real neighbourhood; 1 is as dense as real",
    "coverage": "share of real neighbourhoods with a sample",
    "class_agreement": "share of samples of the class that was asked for",
    "diversity": "mean distance between samples over that of real images",
    "checkerboard_energy": "share of finest detail in the checkerboard pattern",
    "memorisation_ratio": "distance to the nearest training image over that image's to the next; 0 is copying",
}
"""What each measure means, in the order to show."""
REAL_COUNTERPARTS = {
    "frechet_distance": "real_frechet_distance",
    "precision": "real_precision",
    "recall": "real_recall",
    "class_agreement": "real_class_agreement",
    "checkerboard_energy": "real_checkerboard_energy",
}
"""Which measure of the real images stands beside which."""


@dataclass(frozen=True)
class Evaluation:
    """All that was measured, with the real data's own values (`real_...`: test against training images) beside it."""

    images: int
    features: str  # whose, in all that compares features: "classifier" or "inception"
    classifier: str  # fingerprint of the classifier's weights; figures that it measured compare under one alone
    frechet_distance: float  # both of as many images: those of the smaller of the two sets
    real_frechet_distance: float
    precision: float
    recall: float
    density: float
    coverage: float
    real_precision: float
    real_recall: float
    class_agreement: float | None  # None where no classes were asked for
    real_class_agreement: float | None  # the classifier's accuracy on real test images
    class_shares: list[float] | None  # as the classifier sees them
    diversity: float | None  # mean pairwise feature distance over that of real images; None where those are all alike
    checkerboard_energy: float
    real_checkerboard_energy: float
    memorisation_ratio: float | None  # distance to the nearest training image over that one's to the next; 0: copies

    def to_dict(self) -> dict[str, Any]:
        """By the names above; `gan-eval --json` adds `source` and `notes`."""
        return asdict(self)


class EvaluatedSamples(NamedTuple):
    """A set of samples, where it came from, and what was measured of it."""

    source: Path
    samples: Samples
    result: Evaluation


@dataclass(frozen=True)
class Evaluator:
    """Real images and a feature extractor; evaluates any number of sample sets against them."""

    train: ImageData
    test: ImageData
    extractor: FeatureExtractor
    progress: ProgressFn | None = None  # told (images measured, images of that set)

    def evaluate(self, samples: Samples, k: int = NEIGHBOURS) -> Evaluation:
        """Measure everything.

        Args:
            samples: images of the real data's size and channels.
            k: neighbours of precision and recall.

        Raises:
            DataError: another size or number of channels than the real images, or too few images.
        """
        images = samples.images
        if images.shape[1:] != self.train.images.shape[1:]:
            raise DataError(
                f"the images are {_shape(images)}, but {self.train.source} has {_shape(self.train.images)}; "
                "give --image-size and --channels, or other --data"
            )
        least = min(len(images), len(self.test), len(self.train))
        if least <= k:
            raise DataError(f"{least} images are too few; {k + 1} is the least")
        fake, predicted = self.extractor.extract(images, self.progress)
        train, test = self._real
        alike = min(len(fake), len(test))  # a distance depends on how many images it is of
        few, many = subsample(test, REAL_IMAGES), subsample(fake, GENERATED_IMAGES)
        generated, real = prdc(few, many, k), prdc(few, subsample(train, len(many)), k)
        asked = samples.labels if self.extractor.has_classes else None
        return Evaluation(
            images=len(images),
            features=self.extractor.name,
            classifier=self.extractor.fingerprint,
            frechet_distance=frechet_distance(train, subsample(fake, alike)),
            real_frechet_distance=self._real_frechet_distance(alike),
            precision=generated.precision,
            recall=generated.recall,
            density=generated.density,
            coverage=generated.coverage,
            real_precision=real.precision,
            real_recall=real.recall,
            class_agreement=None if asked is None else class_agreement(predicted, asked),
            real_class_agreement=self.extractor.accuracy if self.extractor.has_classes else None,
            class_shares=class_shares(predicted, self.train.classes) if self.extractor.has_classes else None,
            diversity=relative_diversity(few, many),
            checkerboard_energy=checkerboard_energy(images),
            real_checkerboard_energy=checkerboard_energy(self.test.images),
            memorisation_ratio=memorisation_ratio(subsample(images, COMPARED), self.train.images),
        )

    def rank_warning(self, counts: Mapping[str, int]) -> str:
        """One line where images are so few that a covariance of their features is singular; nothing where they aren't.

        Args:
            counts: images of each set of samples, by its name.
        """
        train, test = self._real
        least = train.shape[1] + 1
        counts = {**counts, "training images": len(train), "test images": len(test)}
        few = ", ".join(f"{name}: {count:,}" for name, count in counts.items() if count < least)
        if not few:
            return ""
        return (
            f"a Frechet distance in {least - 1:,} dimensions is rank deficient with fewer than {least:,} images "
            f"({few}); compare it only with one of as many images"
        )

    @cached_property
    def _real(self) -> tuple[Tensor, Tensor]:
        """Features (N, D) of training images and (M, D) of test images."""
        train, _ = self.extractor.extract(subsample(self.train.images, GENERATED_IMAGES), self.progress)
        test, _ = self.extractor.extract(self.test.images, self.progress)
        return train, test

    def _real_frechet_distance(self, images: int) -> float:
        """Of so many test images to the training images."""
        if images not in self._real_distances:
            train, test = self._real
            self._real_distances[images] = frechet_distance(train, subsample(test, images))
        return self._real_distances[images]

    @cached_property
    def _real_distances(self) -> dict[int, float]:
        return {}

    def closest(self, samples: Samples, count: int = NEIGHBOURS_SHOWN) -> tuple[Tensor, Nearest]:
        """The `count` samples that sit closest to training images, with those; for a person to look at."""
        compared = subsample(samples.images, COMPARED)
        nearest = nearest_neighbours(compared, self.train.images)
        order = nearest.distances.argsort()[:count]
        return compared[order], Nearest(nearest.distances[order], nearest.indices[order])

    def closest_of_each_class(self, samples: Samples, count: int) -> tuple[Tensor, Nearest]:
        """The same of each class, as the classifier sees them: images with little ink are close anyhow."""
        compared = subsample(samples.images, COMPARED)
        nearest = nearest_neighbours(compared, self.train.images)
        _, classes = self.extractor.extract(compared)
        order = nearest.distances.argsort()
        chosen = torch.cat([order[classes[order] == label][:count] for label in range(self.train.classes)])
        return compared[chosen], Nearest(nearest.distances[chosen], nearest.indices[chosen])


def split(data: ImageData, share: float = HELD_OUT) -> tuple[ImageData, ImageData]:
    """Training and held-out images of one source, the same ones each time: a seeded choice within each class.

    Where no class has two images, among all. Both are copies: of images that may be larger than memory, SPLIT_BYTES
    are taken, a seeded choice too, and `note` says so.
    """
    rng = torch.Generator().manual_seed(0)
    order = torch.randperm(len(data), generator=rng)[: max(1, SPLIT_BYTES // data.images[0].numel())]
    held: list[int] = []
    labels = torch.zeros(len(data), dtype=torch.int64) if data.labels is None else data.labels
    for label in range(int(labels.max()) + 1):
        members = order[labels[order] == label]
        held += members[: max(1, round(len(members) * share))].tolist() if len(members) > 1 else []
    held = held or order[: max(1, round(len(order) * share))].tolist()
    is_held, is_taken = torch.zeros(len(data), dtype=torch.bool), torch.zeros(len(data), dtype=torch.bool)
    is_held[held] = True
    is_taken[order] = True
    if len(order) < len(data):
        told = f"{len(order):,} of its {len(data):,} images stand for all; give --test-data to compare with all of them"
        data = replace(data, notes=(*data.notes, told))
    return _part(data, is_taken & ~is_held), _part(data, is_held)


def _part(data: ImageData, mask: Tensor) -> ImageData:
    labels = None if data.labels is None else data.labels[mask]
    return ImageData(data.images[mask], labels, data.class_names, data.source, data.notes)


def _shape(images: Tensor) -> str:
    return f"{images.shape[3]}x{images.shape[2]} with {images.shape[1]} channel{'s' if images.shape[1] > 1 else ''}"
