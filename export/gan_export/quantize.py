"""A graph in int8: weights and activations of its large layers as 8-bit integers, where the images stay what they are.

Static: scales are fixed when the graph is written (int8/graph.py). There are integer kernels for Conv and Gemm and none
for ConvTranspose, so transposed convolutions and upsampling become plain ones first (rewrite/phases.py, as windows).

What range a tensor is given (all that was seen, or less than that, cut where most of it lies) and which layers stay in
float32 is found by measurement, on images that are not those of the certificate.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, Final, TypeAlias

import numpy as np
import onnx
from numpy.typing import NDArray

from .artifact import IMAGE_OUTPUT, PIXELS_OUTPUT, LatentSpec, Rewrite
from .artifact.gates import MAX_VISIBLE_SHARE, MIN_IMAGE_PSNR_DB, MIN_PSNR_DB
from .artifact.measures import VISIBLE
from .artifact.pixels import psnr_of
from .int8.calibration import Ranges, Span, calibrate, parts_of
from .int8.graph import round_tensor, source_of, tensors_of, write_int8
from .int8.layer_choice import choose
from .int8.weights import Rounded, round_weights
from .onnx_graph import attributes_of
from .rewrite import upsampling
from .rewrite.editing import Editor
from .rewrite.work import layer_names, work_by_layer
from .tuning import Feed, RewrittenGraph, feed_of, open_graph, split

SHARE: Final = 0.02  # of all operations: layers with less are left in float32
CALIBRATION_IMAGES: Final = 128  # to calibrate with, and as many others to look at the result
FIRST_SEED: Final = 7_000_000  # none of the certificate's
MIXED: Final = "mixed"  # ranges: of each tensor the one that shows least
SPARE_DB: Final = 1.5  # above what the certificate wants, which looks at other images
SPARE_SHARE: Final = 0.75  # of the visible pixels that it lets pass

Array: TypeAlias = NDArray[Any]


@dataclass(frozen=True)
class Quantized:
    """A graph in int8, and what it was measured at against float32 on images of its own."""

    model: onnx.ModelProto
    rewrites: list[Rewrite]
    psnr_db: float
    visible_share: float  # of uint8 pixels, off by more than gates.VISIBLE


class QuantizationError(RuntimeError):
    """There is no such graph that is near enough; the message is one line."""


def quantize(
    model: onnx.ModelProto, latent: LatentSpec, classes: int, progress: Callable[[str], None] = lambda _: None
) -> Quantized:
    """The graph in int8 whose images are near enough to float32's, with as few layers in float32 as that takes.

    Args:
        model: with serving's inputs and outputs, after the rewrites that simplify it (tuning.simplified).
        latent: what its latents are drawn from.
        classes: number of classes, 0 for an unconditional generator.
        progress: told in a few words what is being done.

    Raises:
        QuantizationError: it has no layers for it, or no choice of them is near enough.
    """
    plain = split(RewrittenGraph(upsampling(model))).model
    if not work_by_layer(plain):
        raise QuantizationError("none of its layers computes in float32 with known sizes")
    layers = _layers(plain)
    if not layers:
        raise QuantizationError("it has no convolution or matrix product that is large enough")
    progress("measuring the ranges of activations")
    given, looked = (
        feed_of(latent, classes, CALIBRATION_IMAGES, FIRST_SEED + i * CALIBRATION_IMAGES) for i in range(2)
    )
    ranges = calibrate(plain, tensors_of(plain, layers), given)
    progress("rounding weights")
    weights = round_weights(plain, layers, given)
    method, spans, kept, found = _choice(layers, ranges, _Comparison(plain, weights, looked, progress))
    if not found.may_pass:
        raise QuantizationError(
            f"image error too large: PSNR {found.psnr_db:.1f} dB, "
            f"{found.visible_share:.1%} of uint8 pixels off by more than {VISIBLE}, "
            f"the worst image's PSNR {psnr_of(found.worst):.1f} dB"
        )
    names = layer_names(plain)
    rewrites = [Rewrite(name=f"int8, {method} ranges", layer=names[one]) for one in kept]
    rewrites += [Rewrite(name="float32: int8 would show", layer=names[one]) for one in layers if one not in kept]
    return Quantized(write_int8(plain, kept, spans, weights), rewrites, found.psnr_db, found.visible_share)


def _choice(
    layers: Mapping[str, int], ranges: Mapping[str, Ranges], compare: _Comparison
) -> tuple[str, Ranges, tuple[str, ...], _Deviation]:
    """The way to cut ranges, what it makes of them, the layers for int8, and what is seen with these."""
    ways = dict(ranges)
    deviation = cache(lambda method, some: compare(ways[method], some))

    def worth(method: str) -> tuple[bool, int, float]:
        """As a key to sort by: it may pass, it saves much work, it is near."""
        kept, found = choices[method]
        return found.may_pass, sum(layers[layer] for layer in kept), -found.distance

    methods = sorted(ways, key=lambda name: deviation(name, tuple(layers)).distance)
    if deviation(methods[0], tuple(layers)).distance > 1:
        ways[MIXED] = _mixed(ranges, compare)
        methods.insert(0, MIXED)
    choices = dict[str, tuple[tuple[str, ...], _Deviation]]()
    for method in methods:
        choices[method] = choose(layers, partial(deviation, method))
        may_pass, work, _ = worth(best := max(choices, key=worth))
        if may_pass and 2 * work > sum(layers.values()):
            break
    return best, ways[best], *choices[best]


def _mixed(ranges: Mapping[str, Ranges], compare: _Comparison) -> Ranges:
    """For each tensor the range that shows least when nothing but that tensor is in 8 bits."""
    tensors = next(iter(ranges.values()))
    return {
        name: min(
            dict.fromkeys(found[name] for found in ranges.values()), key=lambda span: compare.rounded(name, span).share
        )
        for name in tensors
    }


@dataclass(frozen=True)
class _Deviation:
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


class _Comparison:
    """Draws the same images with float32 and with a candidate."""

    def __init__(
        self, model: onnx.ModelProto, weights: Mapping[str, Rounded], feed: Feed, progress: Callable[[str], None]
    ) -> None:
        self._model, self._weights, self._feed, self._progress = model, weights, feed, progress
        self._drawn = list(self._draw(model))

    def __call__(self, spans: Ranges, layers: Collection[str]) -> _Deviation:
        self._progress(f"drawing with {len(layers)} layers in int8")
        return self._deviation_of(write_int8(self._model, layers, spans, self._weights))

    def rounded(self, tensor: str, span: Span) -> _Deviation:
        """With nothing but one tensor in 8 bits."""
        self._progress(f"drawing with 8 bits of {tensor}")
        return self._deviation_of(round_tensor(self._model, tensor, span))

    def _deviation_of(self, model: onnx.ModelProto) -> _Deviation:
        errors, visible, count = list[Array](), 0, 0
        for (image, pixels), (wanted, exact) in zip(self._draw(model), self._drawn, strict=True):
            errors.append(np.square(pixels.astype(np.float64) - exact).mean(axis=(1, 2, 3)))
            visible += int((np.abs(image.astype(np.int16) - wanted) > VISIBLE).sum())
            count += image.size
        each = np.concatenate(errors)
        return _Deviation(float(each.mean()), visible / count, float(np.sqrt(each.max())))

    def _draw(self, model: onnx.ModelProto) -> Iterator[tuple[Array, Array]]:
        """Bytes and pixels, of AT_ONCE images at a time."""
        session = open_graph(model)
        for part in parts_of(self._feed):
            image, pixels = session.run([IMAGE_OUTPUT, PIXELS_OUTPUT], part)
            yield image, pixels


def _layers(model: onnx.ModelProto) -> dict[str, int]:
    """Operations an image of the layers that may be in int8, by what they make, in the graph's order.

    None whose input is the latent itself, or a constant.
    """
    work, editor = work_by_layer(model), Editor(model)
    total, found = sum(work.values()), dict[str, int]()
    for node in editor.nodes:
        name = node.output[0]
        if name not in work or work[name] < SHARE * total or node.op_type not in ("Conv", "Gemm"):
            continue
        attributes = attributes_of(node)
        odd = attributes.get("transA", 0) or attributes.get("alpha", 1.0) != 1.0 or attributes.get("beta", 1.0) != 1.0
        bias = len(node.input) < 3 or editor.constant(node.input[2]) is not None
        is_computed = editor.producer(source_of(editor, node.input[0])) is not None
        if editor.is_flat and not odd and bias and is_computed:
            found[name] = work[name]
    return found
