"""Nearest upsampling and a convolution are one transposed convolution.

Upsampling by s repeats every value s times: it is the transposed convolution with s ones and a stride of s. After it, a
convolution with the kernel w (k taps, padding p) makes one with k + s - 1 taps, sums of those of w, a stride of s and
a padding of k - 1 - p. For s = 2 and k = 3 each of its four phases has 2x2 taps: 4/9 of the work.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

import numpy as np
import onnx
from numpy.typing import NDArray

from gan_export.onnx_graph import Writer, attributes_of, input_name

from .editing import Editor

REPEATS: Final = ({b"asymmetric", b"floor"}, {b"half_pixel", b"round_prefer_floor"})
"""Coordinates and rounding with which a whole scale repeats every value."""


def upsampled_layers(model: onnx.ModelProto) -> list[str]:
    """What the convolutions make that `upsampling` can replace."""
    editor = Editor(model)
    return [node.output[0] for node in editor.each("Conv") if _scales(editor, node) is not None]


def upsampling(model: onnx.ModelProto, layers: Collection[str] | None = None) -> onnx.ModelProto:
    """Replace Resize and Conv by a ConvTranspose.

    Args:
        model: opset 17.
        layers: what the convolutions make; None: all.
    """
    editor = Editor(model)
    for node in editor.each("Conv"):
        if layers is None or set(node.output) & set(layers):
            scales = _scales(editor, node)
            if scales is not None:
                _replace(editor, node, scales)
    return editor.done()


def _scales(editor: Editor, node: onnx.NodeProto) -> tuple[int, int] | None:
    """By how much height and width are repeated before a convolution; None if it can't be replaced."""
    attributes, weight = attributes_of(node), editor.constant(node.input[1])
    resize = editor.only_source(node.input[0])
    if weight is None or weight.ndim != 4 or resize is None or resize.op_type != "Resize":
        return None
    if attributes.get("auto_pad", b"NOTSET") != b"NOTSET" or any(one != 1 for one in attributes.get("strides", [])):
        return None
    if any(one != 1 for one in attributes.get("dilations", [])):
        return None
    if any(pad >= weight.shape[2 + i % 2] for i, pad in enumerate(attributes.get("pads", []))):
        return None
    asked = attributes_of(resize)
    how = {
        asked.get("coordinate_transformation_mode", b"half_pixel"),
        asked.get("nearest_mode", b"round_prefer_floor"),
    }
    scales = editor.constant(input_name(resize, 2))
    if asked.get("mode", b"nearest") != b"nearest" or how not in REPEATS or scales is None or scales.shape != (4,):
        return None
    whole = np.rint(scales).astype(int)
    if (whole != scales).any() or tuple(whole[:2]) != (1, 1) or (whole < 1).any():
        return None
    return int(whole[2]), int(whole[3])


def _replace(editor: Editor, node: onnx.NodeProto, scales: tuple[int, int]) -> None:
    attributes, weight = attributes_of(node), editor.constant(node.input[1])
    resize = editor.producer(node.input[0])
    assert weight is not None
    assert resize is not None
    groups, kernel = int(attributes.get("group", 1)), weight.shape[2:]
    pads = attributes.get("pads", [0] * 4)
    write = Writer(editor, node.output[0])
    joined = editor.add_constant(f"{node.input[1]}.upsampled", _joined(weight, scales, groups))
    write(
        "ConvTranspose",
        resize.input[0],
        joined,
        *node.input[2:],
        output=node.output[0],
        strides=list(scales),
        pads=[kernel[i % 2] - 1 - pad for i, pad in enumerate(pads)],
        group=groups,
    )
    editor.replace([resize, node], write.nodes)


def _joined(weight: NDArray[np.float32], scales: tuple[int, int], groups: int) -> NDArray[np.float32]:
    """(Cout, Cin / g, kh, kw) -> (Cin, Cout / g, kh + sh - 1, kw + sw - 1)."""
    outputs, inputs, height, width = weight.shape
    turned = weight.reshape(groups, outputs // groups, inputs, height, width).swapaxes(1, 2)
    turned = turned.reshape(groups * inputs, outputs // groups, height, width)[:, :, ::-1, ::-1].astype(np.float64)
    joined = np.zeros((*turned.shape[:2], height + scales[0] - 1, width + scales[1] - 1))
    for row in range(scales[0]):
        for column in range(scales[1]):
            joined[:, :, row : row + height, column : column + width] += turned
    return joined.astype(np.float32)
