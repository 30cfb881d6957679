"""How far a candidate in int8 is from float32: the same images, drawn with both."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from copy import copy
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
import onnx
from numpy.typing import NDArray

from gan_export.artifact import IMAGE_OUTPUT, PIXELS_OUTPUT
from gan_export.artifact.gates import MAX_VISIBLE_SHARE, MIN_IMAGE_PSNR_DB, MIN_PSNR_DB
from gan_export.artifact.measures import VISIBLE
from gan_export.artifact.pixels import psnr_of
from gan_export.tuning import Feed, open_graph

from .calibration import Divisors, Ranges, Span, parts_of
from .graph import round_tensor, write_int8
from .weights import Rounded

SPARE_DB: Final = 1.5  # above what the certificate wants, which looks at other images
SPARE_SHARE: Final = 0.75  # of the visible pixels that it lets pass

Array: TypeAlias = NDArray[Any]


@dataclass(frozen=True)
class Deviation:
    """How far a candidate's images are from float32's."""

    error: float  # mean square over all pixels, which are on [-1, 1]
    visible_share: float
    worst: float  # root mean square of the image that has the largest

    @property
    def psnr_db(self) -> float:
        return psnr_of(math.sqrt(self.error))

    @property
    def distance(self) -> float:
        """Its error, its share of visible pixels and its worst image in parts of what they may be: the largest.

        At 1, there is something to spare for the certificate's images.
        """
        error = 10 ** ((MIN_PSNR_DB + SPARE_DB - self.psnr_db) / 20)
        worst = 10 ** ((MIN_IMAGE_PSNR_DB + SPARE_DB - psnr_of(self.worst)) / 20)
        return max(error, worst, self.visible_share / (MAX_VISIBLE_SHARE * SPARE_SHARE))

    @property
    def share(self) -> float:
        """Of what may be, taken by this alone: squared errors add up, and what is visible about as well."""
        error = 10 ** ((MIN_PSNR_DB + SPARE_DB - self.psnr_db) / 10)
        return error + self.visible_share / (MAX_VISIBLE_SHARE * SPARE_SHARE)

    @property
    def may_pass(self) -> bool:
        """Within what is allowed, perhaps with nothing to spare: the certificate will tell."""
        near = self.psnr_db >= MIN_PSNR_DB and self.visible_share <= MAX_VISIBLE_SHARE
        return near and psnr_of(self.worst) >= MIN_IMAGE_PSNR_DB


class Comparison:
    """Draws the same images with float32 and with a candidate, once with each."""

    def __init__(
        self, model: onnx.ModelProto, weights: Mapping[str, Rounded], feed: Feed, progress: Callable[[str], None]
    ) -> None:
        self._model, self._weights, self._feed, self._progress = model, weights, feed, progress
        self._divisors: Divisors = {}
        self._seen: dict[object, Deviation] = {}
        self._drawn = list(self._draw(model))

    def for_(self, weights: Mapping[str, Rounded], divisors: Divisors) -> Comparison:
        """The same of candidates with other weights, made for other divisors of channels."""
        other = copy(self)
        other._weights, other._divisors, other._seen = weights, divisors, {}
        return other

    def write(self, spans: Ranges, layers: Collection[str], float_results: Collection[str] = ()) -> onnx.ModelProto:
        """A candidate (`write_int8`)."""
        return write_int8(self._model, layers, spans, self._weights, self._divisors, float_results)

    def __call__(self, spans: Ranges, layers: Collection[str], float_results: Collection[str] = ()) -> Deviation:
        what = frozenset(spans.items()), tuple(layers), tuple(float_results)
        if what not in self._seen:
            self._progress(f"drawing with {len(layers)} layers in int8")
            self._seen[what] = self._deviation_of(self.write(spans, layers, float_results))
        return self._seen[what]

    def rounded(self, tensor: str, span: Span) -> Deviation:
        """With nothing but one tensor in 8 bits."""
        self._progress(f"drawing with 8 bits of {tensor}")
        return self._deviation_of(round_tensor(self._model, tensor, span, self._divisors.get(tensor)))

    def _deviation_of(self, model: onnx.ModelProto) -> Deviation:
        errors, visible, count = list[Array](), 0, 0
        for (image, pixels), (wanted, exact) in zip(self._draw(model), self._drawn, strict=True):
            errors.append(np.square(pixels.astype(np.float64) - exact).mean(axis=(1, 2, 3)))
            visible += int((np.abs(image.astype(np.int16) - wanted) > VISIBLE).sum())
            count += image.size
        each = np.concatenate(errors)
        return Deviation(float(each.mean()), visible / count, float(np.sqrt(each.max())))

    def _draw(self, model: onnx.ModelProto) -> Iterator[tuple[Array, Array]]:
        """Bytes and pixels, of AT_ONCE images at a time."""
        session = open_graph(model)
        for part in parts_of(self._feed):
            image, pixels = session.run([IMAGE_OUTPUT, PIXELS_OUTPUT], part)
            yield image, pixels
