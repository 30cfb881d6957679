"""A convolution to a few maps, such as the three of an image, as one of 1x1 and one that adds up what belongs together.

ONNX Runtime's blocked kernels compute 16 maps at once, so that of a convolution to three most work is for nothing. The
first of the two makes a map of each product of an output and a tap of the kernel: 27 of three outputs and 3x3 taps. In
the second, each output is the sum of its own, each moved to where its tap looks.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import prod
from typing import Final

import numpy as np
import onnx

from gan_export.onnx_graph import Writer, attributes_of

from .editing import Editor

BLOCK: Final = 16  # maps that are computed at once
MOST_MAPS: Final = 2 * BLOCK  # of the first convolution: the second multiplies all of them with zeros, but for one each


def thin_layers(model: onnx.ModelProto) -> list[str]:
    """What the convolutions make whose work `taps` makes less."""
    editor = Editor(model)
    return [node.output[0] for node in editor.each("Conv") if _is_thin(editor, node)]


def taps(model: onnx.ModelProto, layers: Iterable[str] | None = None) -> onnx.ModelProto:
    """Write convolutions to a few maps as two.

    Args:
        model: opset 17.
        layers: some of `thin_layers`; all without.
    """
    editor = Editor(model)
    for layer in thin_layers(model) if layers is None else layers:
        node = editor.producer(layer)
        assert node is not None, layer
        _write(editor, node)
    return editor.done()


def _is_thin(editor: Editor, node: onnx.NodeProto) -> bool:
    weight = editor.constant(node.input[1])
    if weight is None or weight.ndim != 4 or weight.dtype != np.float32 or attributes_of(node).get("group", 1) != 1:
        return False
    outputs, channels, size = len(weight), weight.shape[1], prod(weight.shape[2:])
    maps = outputs * size
    before = -(-outputs // BLOCK) * BLOCK * channels * size
    after = -(-maps // BLOCK) * BLOCK * channels + -(-outputs // BLOCK) * BLOCK * maps * size
    return maps <= MOST_MAPS and after < before


def _write(editor: Editor, node: onnx.NodeProto) -> None:
    weight = editor.constant(node.input[1])
    assert weight is not None, node.output[0]
    outputs, channels, *kernel = weight.shape
    taps_first = weight.reshape(outputs, channels, -1).transpose(0, 2, 1)
    own = np.eye(outputs * prod(kernel), dtype=np.float32).reshape(outputs, prod(kernel), -1).transpose(0, 2, 1)
    write = Writer(editor, node.output[0])
    products = write("Conv", node.input[0], np.ascontiguousarray(taps_first.reshape(-1, channels, 1, 1)))
    sums = write.constant(f"{node.input[1]}.taps", np.ascontiguousarray(own.reshape(outputs, -1, *kernel)))
    write("Conv", products, sums, *node.input[2:], output=node.output[0], **attributes_of(node))
    editor.replace([node], write.nodes)
