"""A graph in int8: weights and activations of its large layers as 8-bit integers, where the images stay what they are.

Static, in QuantizeLinear and DequantizeLinear around the layers, which ONNX Runtime joins into its integer kernels:
activations uint8 with one scale a tensor, weights int8 with one a channel and symmetric. There are such kernels for
Conv and Gemm and none for ConvTranspose, so transposed convolutions and upsampling become plain ones first (phases.py,
in the form of windows); what moves numbers without changing them is done with bytes.

What range a tensor is given (all that was seen, or less than that, cut where most of it lies) and which layers stay in
float32 is found by measurement, on images that are not those of the certificate.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
import onnx
from numpy.typing import NDArray

from .artifact import IMAGE_OUTPUT, LABEL_INPUT, LATENT_INPUT, PIXELS_OUTPUT, LatentSpec, Rewrite
from .artifact.gates import MAX_VISIBLE_SHARE, MIN_PSNR_DB, VISIBLE
from .calibration import Ranges, Span, calibrate
from .rewrite import phases, upsampling
from .rewrite.editing import Editor, Writer, attributes_of
from .tuning import Feed, feed_of, open_graph
from .work import layer_names, work_by_layer

SHARE: Final = 0.02  # of all operations: layers with less are left in float32
IMAGES: Final = 128  # to calibrate with, and as many others to look at the result
FIRST_SEED: Final = 7_000_000  # none of the certificate's
SPARE_DB: Final = 1.5  # above what the certificate wants, which looks at other images
INT32: Final = (-(2**31), 2**31 - 1)
SPARE_SHARE: Final = 0.6  # of the visible pixels that it lets pass
MOVES: Final = ("Transpose", "Reshape", "Slice", "DepthToSpace", "Flatten", "Squeeze", "Unsqueeze")

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
    plain = phases(phases(upsampling(model), "windows"), "phases")
    layers = _layers(plain)
    if not layers:
        raise QuantizationError("it has no convolution or matrix product that is large enough")
    progress("measuring the ranges of activations")
    given, looked = (feed_of(latent, classes, IMAGES, FIRST_SEED + i * IMAGES) for i in range(2))
    ranges = calibrate(plain, _tensors(plain, layers), given)
    judge = _Judge(plain, looked, progress)
    looks = {name: judge(layers, spans) for name, spans in ranges.items()}
    method = min(looks, key=lambda name: looks[name].distance)
    found = looks[method]
    floats: list[str] = []
    while not found.is_near:
        left = [layer for layer in layers if layer not in floats]
        if len(left) <= 1 and found.may_pass:
            break  # with nothing to spare: the certificate will tell
        if len(left) <= 1:
            raise QuantizationError(
                f"its images are off by too much: PSNR {found.psnr_db:.1f} dB, "
                f"{found.visible_share:.1%} of uint8 pixels by more than {VISIBLE}"
            )
        tried = {layer: judge([one for one in left if one != layer], ranges[method]) for layer in left}
        layer = min(tried, key=lambda each: tried[each].distance)
        found = tried[layer]
        floats.append(layer)
    work = work_by_layer(plain)
    for layer in sorted(floats, key=lambda each: -work[each]):
        # What was taken out first may be borne now, without those that were taken out after it.
        again = judge([one for one in layers if one == layer or one not in floats], ranges[method])
        if again.is_near:
            found = again
            floats.remove(layer)
    names = layer_names(plain)
    rewrites = [Rewrite(name=f"int8, {method} ranges", layer=names[one]) for one in layers if one not in floats]
    rewrites += [Rewrite(name="float32: int8 would show", layer=names[one]) for one in floats]
    return Quantized(found.model, rewrites, found.psnr_db, found.visible_share)


@dataclass(frozen=True)
class _Look:
    """A candidate, and how far its images are from float32's."""

    model: onnx.ModelProto
    psnr_db: float
    visible_share: float

    @property
    def distance(self) -> float:
        """Its error and its share of visible pixels in parts of what is allowed of each: the larger one."""
        error = 10 ** ((MIN_PSNR_DB + SPARE_DB - self.psnr_db) / 20)
        return max(error, self.visible_share / (MAX_VISIBLE_SHARE * SPARE_SHARE))

    @property
    def is_near(self) -> bool:
        """Within what is allowed, with something to spare for the certificate's images."""
        return self.distance <= 1

    @property
    def may_pass(self) -> bool:
        return self.psnr_db >= MIN_PSNR_DB and self.visible_share <= MAX_VISIBLE_SHARE


class _Judge:
    """Draws the same images with float32 and with a candidate."""

    def __init__(self, model: onnx.ModelProto, feed: Feed, progress: Callable[[str], None]) -> None:
        self._model, self._feed, self._progress = model, feed, progress
        self._image, self._pixels = self._draw(model)

    def __call__(self, layers: Collection[str], spans: Ranges) -> _Look:
        self._progress(f"drawing with {len(layers)} layers in int8")
        model = write_int8(self._model, layers, spans)
        image, pixels = self._draw(model)
        error = float(np.square(pixels.astype(np.float64) - self._pixels).mean())
        off = np.abs(image.astype(int) - self._image) > VISIBLE
        return _Look(model, 10 * float(np.log10(4 / max(error, 1e-20))), float(off.mean()))

    def _draw(self, model: onnx.ModelProto) -> tuple[Array, Array]:
        image, pixels = open_graph(model).run([IMAGE_OUTPUT, PIXELS_OUTPUT], self._feed)
        return image, pixels


def write_int8(model: onnx.ModelProto, layers: Collection[str], spans: Ranges) -> onnx.ModelProto:
    """The graph with some layers in int8.

    Args:
        model: opset 17.
        layers: what the Conv and Gemm nodes make.
        spans: the range of every tensor that `_tensors` names for them.
    """
    editor = Editor(model)
    roots = {layer: _root(editor, _made_by(editor, layer).input[0], layers) for layer in layers}
    tensors = dict.fromkeys(name for layer in layers for name in (roots[layer], _result(editor, layer)))
    ranges = {name: spans[_source(editor, name)] for name in tensors}
    for layer in layers:
        _quantize_weights(editor, layer, ranges[roots[layer]])
    for name in tensors:
        _Bytes(editor, layers, name, ranges[name]).write()
    return editor.done()


class _Bytes:
    """A tensor as bytes, moved to the layers that read it as bytes; whoever else reads it gets floats again."""

    def __init__(self, editor: Editor, layers: Collection[str], name: str, span: Span) -> None:
        self._editor, self._layers, self._name = editor, layers, name
        self._scale = editor.add_constant(f"{name}.scale", np.array(span.scale))
        self._zero = editor.add_constant(f"{name}.zero_point", np.array(span.zero_point))

    def write(self) -> None:
        made = self._editor.producer(self._name)
        assert made is not None
        users = self._editor.users(self._name)
        write = Writer(self._editor, self._name)
        whole = write("QuantizeLinear", self._name, self._scale, self._zero)
        self._editor.replace([made], [made, *write.nodes])
        for user in users:
            self._hand(user, self._name, whole)

    def _hand(self, user: onnx.NodeProto, name: str, whole: str) -> None:
        """Give a user of `name` the bytes in its place."""
        write = Writer(self._editor, user.output[0])
        if user.op_type in MOVES and _leads_to(self._editor, user.output[0], self._layers):
            moved = write.like(user, whole)
            followers = self._editor.users(user.output[0])
            self._editor.replace([user], write.nodes)
            for follower in followers:
                self._hand(follower, user.output[0], moved)
            return
        floats = write("DequantizeLinear", whole, self._scale, self._zero)
        changed = onnx.NodeProto()
        changed.CopyFrom(user)
        for i, given in enumerate(user.input):
            changed.input[i] = floats if given == name else given
        self._editor.replace([user], [*write.nodes, changed])


def _layers(model: onnx.ModelProto) -> list[str]:
    """What the layers make that may be in int8, in the graph's order; none whose input is the latent itself."""
    work, editor = work_by_layer(model), Editor(model)
    total, found = sum(work.values()), list[str]()
    inputs = {LATENT_INPUT, LABEL_INPUT}
    for node in editor.nodes:
        name = node.output[0]
        if work.get(name, 0) < SHARE * total or node.op_type not in ("Conv", "Gemm"):
            continue
        attributes = attributes_of(node)
        odd = attributes.get("transA", 0) or attributes.get("alpha", 1.0) != 1.0 or attributes.get("beta", 1.0) != 1.0
        bias = len(node.input) < 3 or editor.constant(node.input[2]) is not None
        if editor.is_flat and not odd and bias and _source(editor, node.input[0]) not in inputs:
            found.append(name)
    return found


def _tensors(model: onnx.ModelProto, layers: Collection[str]) -> list[str]:
    """The tensors whose ranges must be known."""
    editor = Editor(model)
    pairs = ((_source(editor, _made_by(editor, one).input[0]), _result(editor, one)) for one in layers)
    return list(dict.fromkeys(name for pair in pairs for name in pair))


def _made_by(editor: Editor, name: str) -> onnx.NodeProto:
    node = editor.producer(name)
    assert node is not None, name
    return node


def _source(editor: Editor, name: str) -> str:
    """The value that a value has its numbers from, by moves alone."""
    mover = editor.producer(name)
    return _source(editor, mover.input[0]) if mover is not None and mover.op_type in MOVES else name


def _root(editor: Editor, name: str, layers: Collection[str]) -> str:
    """The same, as far as all that is on the way is moved for nothing but layers in int8."""
    mover = editor.producer(name)
    if mover is None or mover.op_type not in MOVES or not _leads_to(editor, name, layers):
        return name
    return _root(editor, mover.input[0], layers)


def _leads_to(editor: Editor, name: str, layers: Collection[str]) -> bool:
    """Whether nothing but layers in int8 uses a value, and what is moved from it."""
    return name not in editor.outputs and all(
        user.output[0] in layers or (user.op_type in MOVES and _leads_to(editor, user.output[0], layers))
        for user in editor.users(name)
    )


def _result(editor: Editor, layer: str) -> str:
    """What a layer makes, or the ReLU behind it, which its integer kernel does too."""
    user = editor.only_user(layer)
    return user.output[0] if user is not None and user.op_type == "Relu" else layer


def _quantize_weights(editor: Editor, layer: str, span: Span) -> None:
    node = _made_by(editor, layer)
    weight = editor.constant(node.input[1])
    assert weight is not None
    attributes = attributes_of(node)
    axis = 0 if node.op_type == "Conv" or attributes.get("transB", 0) else 1
    scales = np.abs(weight).max(axis=tuple(i for i in range(weight.ndim) if i != axis)) / np.float32(127)
    scales = np.maximum(scales, np.float32(1e-12))
    whole = np.rint(weight / scales.reshape([-1 if i == axis else 1 for i in range(weight.ndim)]))
    write = Writer(editor, f"{layer}.int8")
    zeros = np.zeros(len(scales), np.int8)
    inputs = [node.input[0], write("DequantizeLinear", whole.astype(np.int8), scales, zeros, axis=axis)]
    if len(node.input) > 2:
        bias = editor.constant(node.input[2])
        assert bias is not None
        steps = scales * span.scale
        counts = np.clip(np.rint(np.broadcast_to(bias, steps.shape) / steps.astype(np.float64)), *INT32)
        inputs.append(write("DequantizeLinear", counts.astype(np.int32), steps, zeros.astype(np.int32), axis=0))
    write(node.op_type, *inputs, output=layer, **attributes)
    editor.replace([node], write.nodes)
