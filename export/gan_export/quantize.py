"""A graph in int8: weights and activations of its large layers as 8-bit integers, where the images stay what they are.

Static: scales are fixed when the graph is written (int8/graph.py). There are integer kernels for Conv and Gemm and none
for ConvTranspose, so transposed convolutions and upsampling become plain ones first (rewrite/phases.py, as windows).

What range a tensor is given (all that was seen, or less than that, cut where most of it lies) and which layers stay in
float32 is found by measurement, on images that are not those of the certificate.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import onnx

from .artifact import LatentSpec, Rewrite
from .artifact.measures import VISIBLE
from .artifact.pixels import psnr_of
from .int8.calibration import Ranges
from .int8.comparison import Comparison, Deviation
from .int8.graph import source_of
from .int8.layer_choice import choose
from .int8.scheme import equalized, scheme_of
from .onnx_graph import attributes_of
from .rewrite import depthwise_norms, scaled_rounding, taps, upsampling
from .rewrite.editing import Editor
from .rewrite.im2col import windows_of
from .rewrite.work import layer_names, work_by_layer
from .tuning import SMALL, Feed, RewrittenGraph, feed_of, open_graph, passed_over, speedups, split, timed_feeds, worth

SHARE: Final = 0.02  # of all operations: layers with less are left in float32
CALIBRATION_IMAGES: Final = 128  # to calibrate with, and as many others to look at the result
FIRST_SEED: Final = 7_000_000  # none of the certificate's
MIXED: Final = "mixed"  # ranges: of each tensor the one that shows least
MOST_WINDOWS: Final = 2**20  # bytes of an image: what a layer's windows take beside each other; more leave the cache


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
    model: onnx.ModelProto,
    latent: LatentSpec,
    classes: int,
    progress: Callable[[str], None] = lambda _: None,
    *,
    portable: bool = False,
) -> Quantized:
    """The graph in int8 whose images are near enough to float32's, with as few layers in float32 as that takes.

    Args:
        model: with serving's inputs and outputs, after the rewrites that simplify it (tuning.simplified).
        latent: what its latents are drawn from.
        classes: number of classes, 0 for an unconditional generator.
        progress: told in a few words what is being done.
        portable: choose nothing by the time it takes on this host; nor is anything of a small net chosen by that.

    Raises:
        QuantizationError: it has no layers for it, or no choice of them is near enough.
    """
    plain = scaled_rounding(split(RewrittenGraph(upsampling(model))).model)
    work = work_by_layer(plain)
    if not work:
        raise QuantizationError("none of its layers computes in float32 with known sizes")
    layers = _layers(plain)
    if not layers:
        raise QuantizationError("it has no convolution or matrix product that is large enough")
    given, looked = (
        feed_of(latent, classes, CALIBRATION_IMAGES, FIRST_SEED + i * CALIBRATION_IMAGES) for i in range(2)
    )
    progress("measuring the ranges of activations, and rounding weights")
    scheme = scheme_of(plain, layers, given)
    compare = Comparison(plain, scheme.weights, looked, progress)
    if all(compare(spans, tuple(layers)).distance > 1 for spans in scheme.ranges.values()):
        progress("measuring the sizes of channels")
        scheme = equalized(plain, layers, given, scheme, compare)
        compare = compare.for_(scheme.weights, scheme.divisors)
    method, spans, kept, found = _choice(layers, scheme.ranges, compare)
    if not found.may_pass:
        raise QuantizationError(
            f"image error too large: PSNR {found.psnr_db:.1f} dB, "
            f"{found.visible_share:.1%} of uint8 pixels off by more than {VISIBLE}, "
            f"the worst image's PSNR {psnr_of(found.worst):.1f} dB"
        )
    floats, faster = tuple[str, ...](), list[Rewrite]()
    if portable or sum(work.values()) < SMALL:
        written = compare.write(spans, kept)
    else:
        timed = timed_feeds(latent, classes)
        kept, floats, found = _with_float_results(plain, layers, spans, compare, (kept, found), timed, progress)
        written, faster = _faster(compare.write(spans, kept, floats), timed, progress)
    names, left = layer_names(plain), [layer for layer in layers if layer not in kept]
    rewrites = [Rewrite(name=f"int8, {method} ranges", layer=names[one]) for one in kept if one not in floats]
    rewrites += [Rewrite(name=f"int8 with float results, {method} ranges", layer=names[one]) for one in floats]
    rewrites += [Rewrite(name="float32: int8 would show", layer=names[one]) for one in left]
    return Quantized(written, rewrites + faster, found.psnr_db, found.visible_share)


def _choice(
    layers: Mapping[str, int], ranges: Mapping[str, Ranges], compare: Comparison
) -> tuple[str, Ranges, tuple[str, ...], Deviation]:
    """The way to cut ranges, what it makes of them, the layers for int8, and what is seen with these."""
    ways = dict(ranges)

    def merit(method: str) -> tuple[bool, int, float]:
        """As a key to sort by: it may pass, it saves much work, it is near."""
        kept, found = choices[method]
        return found.may_pass, sum(layers[layer] for layer in kept), -found.distance

    def deviation(method: str, some: tuple[str, ...]) -> Deviation:
        return compare(ways[method], some)

    methods = sorted(ways, key=lambda name: deviation(name, tuple(layers)).distance)
    if deviation(methods[0], tuple(layers)).distance > 1:
        ways[MIXED] = _mixed(ranges, compare)
        methods.insert(0, MIXED)
    choices = dict[str, tuple[tuple[str, ...], Deviation]]()
    for method in methods:
        choices[method] = choose(layers, partial(deviation, method))
        may_pass, work, _ = merit(best := max(choices, key=merit))
        if may_pass and 2 * work > sum(layers.values()):
            break
    return best, ways[best], *choices[best]


def _mixed(ranges: Mapping[str, Ranges], compare: Comparison) -> Ranges:
    """For each tensor the range that shows least when nothing but that tensor is in 8 bits."""
    tensors = next(iter(ranges.values()))
    return {
        name: min(
            dict.fromkeys(found[name] for found in ranges.values()), key=lambda span: compare.rounded(name, span).share
        )
        for name in tensors
    }


def _with_float_results(
    model: onnx.ModelProto,
    layers: Mapping[str, int],
    spans: Ranges,
    compare: Comparison,
    chosen: tuple[tuple[str, ...], Deviation],
    timed: Sequence[Feed],
    progress: Callable[[str], None],
) -> tuple[tuple[str, ...], tuple[str, ...], Deviation]:
    """The chosen layers and more, these, and what is seen with them: convolutions whose results are not made bytes.

    Much of what shows of a layer in int8 may be the rounding of its results, and as matrix products their kernel gives
    floats. It takes longer for them, so that they are taken where the graph is measured to be faster.
    """
    (kept, found), editor, floats = chosen, Editor(model), tuple[str, ...]()
    names = layer_names(model)
    session = open_graph(compare.write(spans, kept))
    for layer in sorted(layers, key=lambda one: -layers[one]):
        if layer in kept or not _can_be_gathered(editor, layer):
            continue
        more = tuple(one for one in layers if one == layer or one in kept)
        with passed_over(f"{names[layer]} can't be run in int8 with float results", progress):
            seen = compare(spans, more, (*floats, layer))
            if seen.distance > 1:
                continue
            opened = open_graph(compare.write(spans, more, (*floats, layer)))
            if worth(speedups(session, opened, timed)):
                kept, floats, found, session = more, (*floats, layer), seen, opened
    return kept, floats, found


def _faster(
    model: onnx.ModelProto, timed: Sequence[Feed], progress: Callable[[str], None]
) -> tuple[onnx.ModelProto, list[Rewrite]]:
    """The graph with what is left in float32 written so that it takes less time, where it is measured to do so."""
    session, rewrites = open_graph(model), list[Rewrite]()
    for step in (depthwise_norms, taps):
        changed = step(model)
        if changed.graph.node == model.graph.node:
            continue
        with passed_over(f"what is left in float32 can't be run with {step.__name__}", progress):
            opened = open_graph(changed)
            if gain := worth(speedups(session, opened, timed)):
                model, session = changed, opened
                rewrites.append(Rewrite(name=step.__name__, speedup=round(gain, 3)))
    return model, rewrites


def _can_be_gathered(editor: Editor, layer: str) -> bool:
    windows, node = windows_of(editor, layer), editor.producer(layer)
    return windows is not None and node is not None and windows.size * editor.shapes[node.input[0]][1] <= MOST_WINDOWS


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
