"""A graph with some layers in int8: how it is written, once it is known which, and the ranges of their activations.

In QuantizeLinear and DequantizeLinear around the layers, which ONNX Runtime joins into its integer kernels: activations
uint8 with one scale a tensor, weights int8 with one a channel and symmetric. What moves numbers without changing them
is done with bytes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Final

import numpy as np
import onnx
from numpy.typing import NDArray

from gan_export.onnx_graph import Writer, attributes_of
from gan_export.rewrite.editing import Editor, bounds_of
from gan_export.rewrite.im2col import im2col, weights_by_row

from .calibration import Divisors, Ranges, Span, by_channel
from .weights import Rounded

MOST_COUNTS: Final = 2**30
"""Of a bias, which is an int32 in steps of its output's scale; as much again is left for the sum it is added to."""


def write_int8(
    model: onnx.ModelProto,
    layers: Collection[str],
    spans: Ranges,
    weights: Mapping[str, Rounded],
    divisors: Divisors = MappingProxyType({}),
    float_results: Collection[str] = (),
) -> onnx.ModelProto:
    """The graph with some layers in int8.

    Args:
        model: opset 17.
        layers: what the Conv and Gemm nodes make.
        spans: the range of every tensor that `tensors_of` names for them.
        weights: theirs, by layer.
        divisors: of the tensors' channels, with which spans and weights were made.
        float_results: those of the layers, all convolutions, whose results stay floats; they become matrix products.
    """
    model, products = im2col(model, float_results)
    weights = {**weights, **{products[one]: _by_row(weights[one]) for one in products}}
    layers = [products.get(one, one) for one in layers]
    editor = Editor(model)
    roots = {layer: _root(editor, made_by(editor, layer).input[0], layers, float_results) for layer in layers}
    results = {layer: name for layer in layers for name in _results(editor, layer)}
    made = set(results.values())
    found = made.union(roots.values())
    tensors = [name for node in editor.nodes for name in node.output if name in found]  # what is before comes first
    ranges = {name: spans[source_of(editor, name, float_results)] for name in tensors}
    for layer in layers:
        _quantize_weights(editor, layer, weights[layer], ranges[roots[layer]], divisors.get(results.get(layer, "")))
    for name in tensors:
        _Bytes(editor, layers, name, ranges[name], divisors.get(name), is_divided=name in made).write()
    return editor.done()


def round_tensor(
    model: onnx.ModelProto, name: str, span: Span, divisor: NDArray[np.float32] | None = None
) -> onnx.ModelProto:
    """The graph with nothing but one of its values rounded to bytes, whoever uses it."""
    editor = Editor(model)
    _Bytes(editor, (), name, span, divisor, is_divided=False).write()
    return editor.done()


class _Bytes:
    """A tensor as bytes, moved to the layers that read it as bytes; whoever else reads it gets floats again."""

    def __init__(
        self,
        editor: Editor,
        layers: Collection[str],
        name: str,
        span: Span,
        divisor: NDArray[np.float32] | None,
        *,
        is_divided: bool,  # by the layer that makes it
    ) -> None:
        self._editor, self._layers, self._name = editor, layers, name
        self._scale = editor.add_constant(f"{name}.scale", np.array(span.scale))
        self._zero = editor.add_constant(f"{name}.zero_point", np.array(span.zero_point))
        self._divisor, self._is_divided = divisor, is_divided

    def write(self) -> None:
        made = self._editor.producer(self._name)
        assert made is not None
        users = self._editor.users(self._name)
        write = Writer(self._editor, self._name)
        # Bytes end where the range does, which is inside of what a Clip leaves: its layer's kernel need not do it.
        source = made.input[0] if _holds_zero(self._editor, made) else self._name
        if self._divisor is not None and not self._is_divided:
            source = self._divided(source, self._divisor)
        whole = write("QuantizeLinear", source, self._scale, self._zero)
        last = self._editor.producer(source) or made
        self._editor.replace([last], [last, *write.nodes])
        for user in users:
            self._hand(user, self._name, whole)

    def _divided(self, name: str, divisor: NDArray[np.float32]) -> str:
        """The tensor `name` with its channels divided, before what treats all of them alike: there it is smallest.

        QuantizeLinear could do it, but takes longer by channel. Right behind a convolution, ONNX Runtime joins the two.
        """
        above, user = name, None
        while (node := self._editor.producer(above)) is not None and _keeps_channels(self._editor, node):
            if self._editor.only_source(node.input[0]) is None:
                break
            above, user = node.input[0], node
        made = made_by(self._editor, above)
        write = Writer(self._editor, above)
        result = write("Mul", above, by_channel(np.reciprocal(divisor), len(self._editor.shapes[name])))
        self._editor.replace([made], [made, *write.nodes])
        if user is None:
            return result
        user.input[0] = result
        return name

    def _hand(self, user: onnx.NodeProto, name: str, whole: str) -> None:
        """Give a user of `name` the bytes in its place."""
        write = Writer(self._editor, user.output[0])
        if self._editor.is_move(user) and _leads_to(self._editor, user.output[0], self._layers):
            moved = self._moved(write, user, whole)
            followers = self._editor.users(user.output[0])
            self._editor.replace([user], write.nodes)
            for follower in followers:
                self._hand(follower, user.output[0], moved)
            return
        floats = self._floats(write, whole, are_divided=user.output[0] in self._layers)
        changed = onnx.NodeProto()
        changed.CopyFrom(user)
        for i, given in enumerate(user.input):
            changed.input[i] = floats if given == name else given
        self._editor.replace([user], [*write.nodes, changed])

    def _moved(self, write: Writer, mover: onnx.NodeProto, whole: str) -> str:
        if mover.op_type == "Pad":
            return write("Pad", whole, mover.input[1], self._zero, **attributes_of(mover))
        return write.like(mover, whole)

    def _floats(self, write: Writer, whole: str, *, are_divided: bool) -> str:
        """Of the bytes, for a layer in int8 as they were divided, for others as they were before that."""
        floats = write("DequantizeLinear", whole, self._scale, self._zero)
        if self._divisor is None or are_divided:
            return floats
        # DequantizeLinear could do it by channel. But ONNX Runtime joins what stands between that and bytes into
        # kernels that know no scales by channel, and then can't open the graph.
        return write("Mul", floats, by_channel(self._divisor, len(self._editor.shapes[self._name])))


def tensors_of(model: onnx.ModelProto, layers: Collection[str]) -> list[str]:
    """The tensors whose ranges must be known."""
    editor = Editor(model)
    found = ((source_of(editor, made_by(editor, one).input[0]), *_results(editor, one)) for one in layers)
    return list(dict.fromkeys(name for names in found for name in names))


def made_by(editor: Editor, name: str) -> onnx.NodeProto:
    """The node that makes a value which is not an input."""
    node = editor.producer(name)
    assert node is not None, name
    return node


def source_of(editor: Editor, name: str, ends: Collection[str] = ()) -> str:
    """The value that a value has its numbers from, by moves alone; none before one of `ends`."""
    mover = editor.producer(name)
    if name in ends or mover is None or not editor.is_move(mover):
        return name
    return source_of(editor, mover.input[0], ends)


def _root(editor: Editor, name: str, layers: Collection[str], ends: Collection[str]) -> str:
    """The same, as far as all that is on the way is moved for nothing but layers in int8."""
    mover = editor.producer(name)
    if name in ends or mover is None or not editor.is_move(mover) or not _leads_to(editor, name, layers):
        return name
    return _root(editor, mover.input[0], layers, ends)


def _leads_to(editor: Editor, name: str, layers: Collection[str]) -> bool:
    """Whether nothing but layers in int8 uses a value, and what is moved from it."""
    return name not in editor.outputs and all(
        user.output[0] in layers or (editor.is_move(user) and _leads_to(editor, user.output[0], layers))
        for user in editor.users(name)
    )


def _results(editor: Editor, layer: str) -> list[str]:
    """What a convolution makes, or the ReLU behind it, cut off or not, which its integer kernel does too.

    The kernel of a matrix product makes floats as well, and bytes where a layer in int8 reads them. What the graph
    gives out stays as it is: rounded behind, it would not be what others are given, and bytes may go beyond its range.
    """
    if made_by(editor, layer).op_type == "Gemm" or layer in editor.outputs:
        return []
    user = editor.only_user(layer)
    if user is not None and _is_given_out(editor, user.output[0]):
        return [layer]
    return [user.output[0] if user is not None and (user.op_type == "Relu" or _holds_zero(editor, user)) else layer]


def _keeps_channels(editor: Editor, node: onnx.NodeProto) -> bool:
    """Whether a node's results are divided as its input is, channel by channel."""
    if node.op_type == "Resize":
        shapes = [editor.shapes.get(name, ()) for name in (node.input[0], node.output[0])]
        mode = attributes_of(node).get("coordinate_transformation_mode", b"half_pixel")
        known = all(len(shape) > 1 for shape in shapes)
        return known and shapes[0][1] == shapes[1][1] and mode != b"tf_crop_and_resize"
    return node.op_type in ("Relu", "LeakyRelu")


def _is_given_out(editor: Editor, name: str) -> bool:
    """Whether the graph gives a value out, or what is moved from it."""
    return name in editor.outputs or any(
        editor.is_move(user) and _is_given_out(editor, user.output[0]) for user in editor.users(name)
    )


def _holds_zero(editor: Editor, node: onnx.NodeProto) -> bool:
    """Whether it is a Clip whose range holds zero, as all ranges of bytes do."""
    bounds = bounds_of(editor, node) if node.op_type == "Clip" else None
    return bounds is not None and bounds[0] <= 0 <= bounds[1]


def _by_row(weights: Rounded) -> Rounded:
    """A convolution's, for the matrix product that it becomes."""
    return replace(weights, whole=weights_by_row(weights.whole), axis=1)


def _quantize_weights(
    editor: Editor, layer: str, weights: Rounded, span: Span, divisor: NDArray[np.float32] | None
) -> None:
    """Write a layer in int8, the channels of whose results are divided by `divisor`."""
    node = made_by(editor, layer)
    write = Writer(editor, f"{layer}.int8")
    zeros = np.zeros(len(weights.scales), np.int8)
    bias = editor.constant(node.input[2]) if len(node.input) > 2 else None
    shifted = weights.shift if bias is None else weights.shift + bias.reshape(-1)  # of a Gemm it may be (1, outputs)
    if divisor is not None:
        weights, shifted = replace(weights, scales=weights.scales / divisor), shifted / divisor
    whole, scales = _with_room(weights, np.abs(shifted) / (MOST_COUNTS * span.scale))
    steps = scales * span.scale
    counts = np.rint(shifted / steps.astype(np.float64)).astype(np.int32)
    inputs = (
        node.input[0],
        write("DequantizeLinear", whole, scales, zeros, axis=weights.axis),
        write("DequantizeLinear", counts, steps, zeros.astype(np.int32), axis=0),
    )
    write(node.op_type, *inputs, output=layer, **attributes_of(node))
    editor.replace([node], write.nodes)


def _with_room(weights: Rounded, least: NDArray[np.float64]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Weights and scales, where no output's scale is smaller than its bias needs.

    An output whose weights are tiny beside its bias would have too small a scale; in the larger one its weights round
    to less, which does not show beside that bias.
    """
    scales = np.maximum(weights.scales, least.astype(np.float32))
    ratios = (weights.scales / scales).reshape([-1 if i == weights.axis else 1 for i in range(weights.whole.ndim)])
    return np.rint(weights.whole * ratios).astype(np.int8), scales
