"""A transposed convolution of a 1x1 map, as DCGAN's first layer is, is a matrix product."""

from __future__ import annotations

import numpy as np
import onnx

from gan_export.onnx_graph import Writer, attributes_of, input_name

from .editing import Editor
from .transposed import first_pads


def projections(model: onnx.ModelProto) -> onnx.ModelProto:
    """Replace every ConvTranspose on (N, C, 1, 1) by a Gemm on (N, C) and a Reshape; its weights must be constants.

    Args:
        model: opset 17.
    """
    editor = Editor(model)
    for node in editor.each("ConvTranspose"):
        _replace(editor, node)
    return editor.done()


def _replace(editor: Editor, node: onnx.NodeProto) -> None:
    attributes = attributes_of(node)
    before, after = editor.shapes.get(node.input[0], ()), editor.shapes.get(node.output[0], ())
    weight, bias = editor.constant(node.input[1]), editor.constant(input_name(node, 2))
    if len(before) != 4 or before[2:] != (1, 1) or len(after) != 4 or not all(after[1:]) or weight is None:
        return
    channels, outputs, *kernel = weight.shape
    pads = first_pads(node, before[2:], after[2:], kernel)
    if attributes.get("group", 1) != 1 or not pads or (input_name(node, 2) and bias is None):
        return
    dilations = attributes.get("dilations", [1, 1])
    # The kernel is drawn once, cut by the padding and widened by the output padding.
    drawn = np.zeros((channels, outputs, *after[2:]), np.float32)
    rows, columns = ([k * dilations[axis] - pads[axis] for k in range(kernel[axis])] for axis in (0, 1))
    for i, row in enumerate(rows):
        for j, column in enumerate(columns):
            if 0 <= row < after[2] and 0 <= column < after[3]:
                drawn[:, :, row, column] = weight[:, :, i, j]
    size = after[2] * after[3]
    shifts = np.zeros(outputs, np.float32) if bias is None else bias
    write = Writer(editor, node.output[0])
    flat = _flat(editor, node.input[0], channels) or write("Reshape", node.input[0], np.array([-1, channels], np.int64))
    weights = editor.add_constant(f"{node.input[1]}.matrix", drawn.reshape(channels, outputs * size))
    made = write("Gemm", flat, weights, np.repeat(shifts, size))
    write("Reshape", made, np.array([-1, *after[1:]], np.int64), output=node.output[0])
    editor.replace([node], write.nodes)


def _flat(editor: Editor, name: str, channels: int) -> str | None:
    """The value of shape (N, C) that was made into a 1x1 map."""
    made = editor.producer(name)
    if made is None or made.op_type not in ("Unsqueeze", "Reshape"):
        return None
    return made.input[0] if editor.shapes.get(made.input[0], ())[1:] == (channels,) else None
