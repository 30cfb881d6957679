"""The evaluation within a run, by which best.pt is chosen: gan-eval's feature extractor on fewer samples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from torch import nn

from gan_training.data import ImageData
from gan_training.metrics.agreement import class_agreement
from gan_training.metrics.features import extractor_for
from gan_training.metrics.frechet import frechet_distance
from gan_training.metrics.prdc import prdc
from gan_training.metrics.subsample import subsample
from gan_training.specs import GeneratorSpec

from .evaluate import split
from .samples import generate

SAMPLES: Final = 2000
REAL: Final = 10_000  # training images that the Frechet distance is to
NEIGHBOURS: Final = 3


class Validation:
    """Measures a generator against the run's own data; the samples' latents are the same each time.

    Making one trains the classifier whose features are compared, unless it is in the cache.
    """

    def __init__(
        self,
        data: ImageData,
        spec: GeneratorSpec,
        seed: int,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        train, held_out = split(data)
        self.spec, self.seed, self.labels = spec, seed, data.labels
        self.extractor = extractor_for(train, held_out, progress=progress)
        self.train, _ = self.extractor.extract(subsample(train.images, REAL))
        self.held_out, _ = self.extractor.extract(subsample(held_out.images, SAMPLES))

    def measure(self, generator: nn.Module) -> dict[str, float]:
        """Frechet distance, precision, recall and class agreement, by their names in metrics.jsonl.

        Recall is `eval_recall` there: `recall` is that of DiversityProbe, in principal components of pixels.
        """
        samples = generate(generator, self.spec, SAMPLES, like=self.labels, seed=self.seed)
        features, predicted = self.extractor.extract(samples.images)
        measures = {"frechet_distance": frechet_distance(self.train, features)}
        if len(self.held_out) > NEIGHBOURS:
            found = prdc(self.held_out, features, NEIGHBOURS)
            measures |= {"precision": found.precision, "eval_recall": found.recall}
        if self.extractor.has_classes and samples.labels is not None:
            measures["class_agreement"] = class_agreement(predicted, samples.labels)
        return measures
