"""A transposed convolution is several convolutions, whose results are interleaved.

Output row o of a stride s takes input row i with kernel row k where o + p = s i + d k (padding p, dilation d). So the
rows with the same rest of o by s, a phase, are a plain convolution of the input with every s-th kernel row; the same
holds for columns. ONNX Runtime has fast kernels for Conv, and none for ConvTranspose. There are two forms:

phases   a convolution for each of the s x s phases, with exactly the work of the transposed convolution
windows  one convolution for all phases, over windows shifted so that all phases see the same one; what stands over at
         the edges is cut off. One row and column more to compute, but one product instead of four, and for int8 the
         input is read once. (For k 4, s 2, p 1: 2x2 windows, and rows -1 to 2H of which the outer two go.)

Without a stride there is one phase, and nothing to interleave: `phases` is a convolution with the kernel turned about.

The results are interleaved with channels last, where that moves runs of numbers and not single ones. An activation of
each number that follows is done before, where ONNX Runtime fuses it with the convolution.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from itertools import product
from typing import Any, Final, Literal, TypeAlias

import numpy as np
import onnx
from numpy.typing import NDArray

from gan_export.onnx_graph import Writer, attributes_of, input_name

from .editing import ACTIVATIONS, Editor
from .transposed import first_pads

Form: TypeAlias = Literal["phases", "windows"]
FORMS: Final[tuple[Form, ...]] = ("phases", "windows")
_FIRST, _LAST = [0, 3, 1, 2], [0, 2, 3, 1]  # to channels first, and to channels last


@dataclass(frozen=True)
class _Phase:
    """One phase along one axis: result j is a sum over taps t of input j + start + t times kernel[taps[t]]."""

    start: int
    taps: tuple[int, ...]  # index into the kernel; -1 for a tap that is zero

    @property
    def end(self) -> int:
        """Of the last tap, for j = 0."""
        return self.start + len(self.taps) - 1

    def widened(self, start: int, end: int) -> _Phase:
        """With zero taps, so that it begins and ends there at the latest."""
        before, after = max(0, self.start - start), max(0, end - self.end)
        return _Phase(self.start - before, (-1,) * before + self.taps + (-1,) * after)


@dataclass(frozen=True)
class _Axis:
    """Height or width of a transposed convolution."""

    size: int  # of the input
    result: int  # of the output
    kernel: int
    stride: int
    dilation: int
    pad: int  # before

    def phase(self, offset: int) -> _Phase:
        """Of the results stride * j + offset."""
        turns, rest = divmod(offset + self.pad, self.stride)
        taps = {
            -(k * self.dilation // self.stride): k
            for k in range(self.kernel)
            if k * self.dilation % self.stride == rest
        }
        first, last = min(taps, default=-turns), max(taps, default=-turns)
        return _Phase(turns + first, tuple(taps.get(tap, -1) for tap in range(first, last + 1)))

    def separate(self) -> list[_Phase]:
        """Each phase with a window of its own, of results 0, 1, ..."""
        return [self._inside(self.phase(offset), self.count(0)) for offset in range(self.stride)]

    def together(self) -> tuple[int, list[_Phase]]:
        """The phases with one window for all, and how many results before the first are to be cut off."""

        def windows(cut: int) -> list[_Phase]:
            found = [self.phase(offset - cut) for offset in range(self.stride)]
            start, end = min(phase.start for phase in found), max(phase.end for phase in found)
            return [self._inside(phase.widened(start, end), self.count(cut)) for phase in found]

        cut = min(range(self.stride), key=lambda cut: len(windows(cut)[0].taps) * self.count(cut))
        return cut, windows(cut)

    def count(self, cut: int) -> int:
        """Results of a phase."""
        return -(-(self.result + cut) // self.stride)

    def pads(self, phase: _Phase, count: int) -> tuple[int, int]:
        """Zeros before and after the input."""
        return -phase.start, count - 1 + phase.end - (self.size - 1)

    def _inside(self, phase: _Phase, count: int) -> _Phase:
        """Wide enough to begin and end with the input, so that no padding is negative."""
        return phase.widened(0, self.size - count)


@dataclass(frozen=True)
class _Layer:
    node: onnx.NodeProto
    weight: NDArray[np.float32]  # (Cin, Cout / g, kh, kw)
    bias: NDArray[np.float32]  # (Cout,)
    groups: int
    axes: tuple[_Axis, _Axis]

    @property
    def channels(self) -> int:
        return len(self.bias)

    def kernel(self, rows: _Phase, columns: _Phase) -> NDArray[np.float32]:
        """Of a plain convolution: (Cout, Cin / g, rows, columns)."""
        padded = np.pad(self.weight, [(0, 0), (0, 0), (0, 1), (0, 1)])  # the index -1 is a row or column of zeros
        taken = padded[:, :, rows.taps][:, :, :, columns.taps]
        parts = taken.reshape(self.groups, -1, *taken.shape[1:]).swapaxes(1, 2)
        return parts.reshape(self.channels, -1, *taken.shape[2:])


def split_layers(model: onnx.ModelProto, form: Form = "phases") -> list[str]:
    """What the transposed convolutions make that `phases` can replace in that form."""
    editor = Editor(model)
    return [node.output[0] for node in editor.each("ConvTranspose") if _layer(editor, node, form) is not None]


def phases(model: onnx.ModelProto, form: Form = "phases", layers: Collection[str] | None = None) -> onnx.ModelProto:
    """Replace ConvTranspose by Conv, and the activation behind it.

    Args:
        model: opset 17.
        form: see above; `windows` is for one group alone, and for a stride.
        layers: what the transposed convolutions make; None: all.
    """
    editor = Editor(model)
    for node in editor.each("ConvTranspose"):
        if layers is None or set(node.output) & set(layers):
            layer = _layer(editor, node, form)
            if layer is not None:
                _replace(editor, layer, form)
    return editor.done()


def _layer(editor: Editor, node: onnx.NodeProto, form: Form) -> _Layer | None:
    attributes, weight, bias = attributes_of(node), editor.constant(node.input[1]), editor.constant(input_name(node, 2))
    before, after = editor.shapes.get(node.input[0], ()), editor.shapes.get(node.output[0], ())
    if weight is None or weight.ndim != 4 or not all(before[1:]) or not all(after[1:]) or len(before) != len(after):
        return None
    if (input_name(node, 2) and bias is None) or not after:
        return None
    groups = int(attributes.get("group", 1))
    strides = attributes.get("strides", [1, 1])
    if form == "windows" and (groups > 1 or max(strides) == 1):
        return None
    pads = first_pads(node, before[2:], after[2:], weight.shape[2:])
    if not pads:
        return None
    dilations = attributes.get("dilations", [1, 1])
    rows, columns = (
        _Axis(before[2 + i], after[2 + i], weight.shape[2 + i], strides[i], dilations[i], pads[i]) for i in (0, 1)
    )
    shifts = np.zeros(weight.shape[1] * groups, np.float32) if bias is None else bias
    return _Layer(node, weight, shifts, groups, (rows, columns))


def _replace(editor: Editor, layer: _Layer, form: Form) -> None:
    node, (rows, columns) = layer.node, layer.axes
    follower = editor.only_user(node.output[0])
    activation = follower if follower is not None and follower.op_type in ACTIVATIONS else None
    write = Writer(editor, node.output[0])
    if max(rows.stride, columns.stride) == 1:
        only = (rows.separate()[0], columns.separate()[0])
        _convolved(write, layer, [only], (rows.result, columns.result), node.output[0])
        editor.replace([node], write.nodes)
        return
    old = [node] if activation is None else [node, activation]
    cuts, made = (_windows if form == "windows" else _phases)(write, layer, activation)
    high, wide = rows.count(cuts[0]), columns.count(cuts[1])
    across = [-1, high, wide, rows.stride, columns.stride * layer.channels]
    if rows.stride > 1 and wide > 1:
        made = write("Reshape", made, np.array(across, np.int64))
        made = write("Transpose", made, perm=[0, 1, 3, 2, 4])
    full = (high * rows.stride, wide * columns.stride)
    made = write("Reshape", made, np.array([-1, *full, layer.channels], np.int64))
    if full != (rows.result, columns.result):
        ends = (cuts[0] + rows.result, cuts[1] + columns.result)
        bounds = [np.array(bound, np.int64) for bound in (cuts, ends, (1, 2))]
        made = write("Slice", made, *bounds)
    write("Transpose", made, perm=_FIRST, output=old[-1].output[0])
    editor.replace(old, write.nodes)


def _phases(write: Writer, layer: _Layer, activation: onnx.NodeProto | None) -> tuple[tuple[int, int], str]:
    rows, columns = layer.axes
    parts = [
        _convolution(write, layer, activation, [pair], (rows.count(0), columns.count(0)))
        for pair in product(rows.separate(), columns.separate())
    ]
    return (0, 0), parts[0] if len(parts) == 1 else write("Concat", *parts, axis=3)


def _windows(write: Writer, layer: _Layer, activation: onnx.NodeProto | None) -> tuple[tuple[int, int], str]:
    (top, rows), (left, columns) = (axis.together() for axis in layer.axes)
    counts = (layer.axes[0].count(top), layer.axes[1].count(left))
    return (top, left), _convolution(write, layer, activation, list(product(rows, columns)), counts)


def _convolution(
    write: Writer,
    layer: _Layer,
    activation: onnx.NodeProto | None,
    pairs: list[tuple[_Phase, _Phase]],
    counts: tuple[int, int],
) -> str:
    """Phases that share a window, channels last: (N, rows, columns, phases * Cout)."""
    made = _convolved(write, layer, pairs, counts)
    if activation is not None:
        made = write.like(activation, made)
    return write("Transpose", made, perm=_LAST)


def _convolved(
    write: Writer,
    layer: _Layer,
    pairs: list[tuple[_Phase, _Phase]],
    counts: tuple[int, int],
    output: str = "",
) -> str:
    """Phases that share a window: (N, phases * Cout, rows, columns)."""
    sides = [axis.pads(phase, count) for axis, phase, count in zip(layer.axes, pairs[0], counts, strict=True)]
    kernel = np.concatenate([layer.kernel(rows, columns) for rows, columns in pairs])
    more: dict[str, Any] = {"pads": [sides[0][0], sides[1][0], sides[0][1], sides[1][1]], "group": layer.groups}
    weight = write.constant(f"{layer.node.input[1]}.phase", kernel)
    return write("Conv", layer.node.input[0], weight, np.tile(layer.bias, len(pairs)), output=output, **more)
