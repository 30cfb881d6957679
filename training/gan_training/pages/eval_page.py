"""The evaluation as one self-contained HTML page: numbers, samples, nearest neighbours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from gan_training.evaluation.evaluate import EvaluatedSamples, Evaluator
from gan_training.evaluation.samples import Samples
from gan_training.grid import grid, pairs

from .measures import words
from .page import inline, number, write_html

SHOWN = 64  # images of each set
COLUMNS = 8


def write_page(
    path: Path,
    evaluator: Evaluator,
    evaluated: Sequence[EvaluatedSamples],
    meanings: Mapping[str, str],
    real: Mapping[str, str],
    notes: Sequence[str] = (),
) -> None:
    """Write the page, whole or not at all.

    Args:
        path: of the HTML file.
        evaluator: what the samples were compared with.
        evaluated: sets of samples.
        meanings: what each measure means, in the order to show.
        real: which measure of the real images stands beside which.
        notes: what has to be known of the numbers, a line each, to stand above them.

    Raises:
        CheckpointError: the file can't be written.
    """
    results = [result.to_dict() for _, _, result in evaluated]
    write_html(
        path,
        "eval_page.html",
        evaluator=evaluator,
        evaluated=[
            (source, _pictures(evaluator, samples), result)
            for (source, samples, _), result in zip(evaluated, results, strict=True)
        ],
        shares=_shares(evaluator, results),
        meanings={name: what for name, what in meanings.items() if any(result[name] is not None for result in results)},
        notes=notes,
        real_picture=inline(grid(_spread(evaluator.test.images), COLUMNS)),
        words=words,
        shown=number,
        real_value=lambda name: real_value(name, results, real),
    )


def real_value(name: str, results: Sequence[Mapping[str, Any]], real: Mapping[str, str]) -> str:
    """The real images' own value of a measure; several, set by set, where they depend on how many images a set has.

    Args:
        name: of the measure.
        results: of each set of samples.
        real: which measure of the real images stands beside which.
    """
    own = [number(result[real[name]]) for result in results if name in real]
    return " / ".join(own if len(set(own)) > 1 else own[:1])


def _shares(evaluator: Evaluator, results: Sequence[dict[str, Any]]) -> list[tuple[str, list[float]]]:
    """(class name, its share in each set); nothing where the classifier knows no classes."""
    if not evaluator.extractor.has_classes:
        return []
    return [
        (name, [result["class_shares"][i] for result in results]) for i, name in enumerate(evaluator.train.class_names)
    ]


def _spread(images: Tensor) -> Tensor:
    """SHOWN images, or all there are, from the whole length of (N, C, S, S), which may be sorted by class."""
    return images[torch.linspace(0, len(images) - 1, min(SHOWN, len(images))).long()]


def neighbour_pairs(evaluator: Evaluator, samples: Samples) -> Image.Image:
    """The samples closest to training images, each with that image on its right; class after class, if there are."""
    if evaluator.extractor.has_classes:
        closest, nearest = evaluator.closest_of_each_class(samples, COLUMNS // 2)
    else:
        closest, nearest = evaluator.closest(samples)
    return pairs(closest, evaluator.train.images[nearest.indices], COLUMNS)


def _pictures(evaluator: Evaluator, samples: Samples) -> dict[str, str]:
    return {
        "samples": inline(grid(_spread(samples.images), COLUMNS)),
        "pairs": inline(neighbour_pairs(evaluator, samples)),
    }
