"""The rounding at a graph's end, three operations over every pixel, as one, and the multiplication before it with them.

Rounding half to even, clipping to 0..255 and casting is what QuantizeLinear does with a scale of 1. With 1 / 127.5 it
multiplies too, but float32 has no such number: values next to a half, of one pixel in 25,000 at most in the nets tried,
go to its other side. So that is for int8, where nobody sees it, and graphs in float32 give the captured bytes.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import onnx

from gan_export.onnx_graph import Writer, input_name

from .editing import Editor

SCALE: Final = np.nextafter(np.float32(1 / 127.5), np.float32(0))
"""Just below it, so that a pixel of 0, the middle, is 128 as before; with the nearest number it would be 127."""
_STEPS: Final = (("Add", 1.0), ("Mul", 127.5), ("Round", None), ("Clip", None), ("Cast", None))


def rounding(model: onnx.ModelProto) -> onnx.ModelProto:
    """Replace that tail where the graph ends with it.

    Args:
        model: opset 17.
    """
    editor = Editor(model)
    for node in list(editor.nodes):
        if node.op_type == "Cast" and node.output[0] in editor.outputs:
            chain = _chain(editor, node)
            if chain is not None:
                write = Writer(editor, node.output[0])
                scale, zero = np.array(1, np.float32), np.array(0, np.uint8)
                write("QuantizeLinear", chain[2].input[0], scale, zero, output=node.output[0])
                editor.replace(chain[2:], write.nodes)
    return editor.done()


def scaled_rounding(model: onnx.ModelProto) -> onnx.ModelProto:
    """Take the multiplication into the rounding, where the graph ends as `rounding` leaves it.

    Args:
        model: opset 17.
    """
    editor = Editor(model)
    for node in list(editor.nodes):
        if node.op_type == "QuantizeLinear" and node.output[0] in editor.outputs and _only_rounds(editor, node):
            before = editor.only_source(node.input[0])
            if before is not None and before.op_type == "Mul" and _is(editor, before.input[1], 127.5):
                write = Writer(editor, node.output[0])
                write("QuantizeLinear", before.input[0], SCALE, node.input[2], output=node.output[0])
                editor.replace([before, node], write.nodes)
    return editor.done()


def _only_rounds(editor: Editor, node: onnx.NodeProto) -> bool:
    zero = editor.constant(input_name(node, 2))
    return _is(editor, node.input[1], 1.0) and zero is not None and zero.dtype == np.uint8 and not zero.any()


def _is(editor: Editor, name: str, number: float) -> bool:
    """Whether a value is that constant."""
    value = editor.constant(name)
    return value is not None and value.size == 1 and bool(value == np.float32(number))


def _chain(editor: Editor, last: onnx.NodeProto) -> list[onnx.NodeProto] | None:
    """The five nodes in their order, if these they are."""
    found = [last]
    for _ in _STEPS[1:]:
        before = editor.only_source(found[0].input[0])
        if before is None:
            return None
        found.insert(0, before)
    for node, (kind, number) in zip(found, _STEPS, strict=True):
        if node.op_type != kind or (number is not None and not _is(editor, node.input[1], number)):
            return None
    limits = [editor.constant(input_name(found[3], i)) for i in (1, 2)]
    is_byte = any(each.name == "to" and each.i == onnx.TensorProto.UINT8 for each in last.attribute)
    return found if is_byte and limits == [0, 255] else None
