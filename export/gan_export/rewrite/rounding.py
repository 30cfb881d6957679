"""The rounding at a graph's end, three operations over every pixel, as one.

Rounding half to even, clipping to 0..255 and casting is what QuantizeLinear does with a scale of 1. Not with 1 / 127.5
on x + 1, which would take in two more: float32 has no such number, and a pixel of 0, the middle, would be 127, not 128.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import onnx

from gan_export.onnx_graph import Writer, input_name

from .editing import Editor

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


def _chain(editor: Editor, last: onnx.NodeProto) -> list[onnx.NodeProto] | None:
    """The five nodes in their order, if these they are."""
    found = [last]
    for _ in _STEPS[1:]:
        before = editor.only_source(found[0].input[0])
        if before is None:
            return None
        found.insert(0, before)
    for node, (kind, number) in zip(found, _STEPS, strict=True):
        if node.op_type != kind or (number is not None and editor.constant(node.input[1]) != np.float32(number)):
            return None
    limits = [editor.constant(input_name(found[3], i)) for i in (1, 2)]
    is_byte = any(each.name == "to" and each.i == onnx.TensorProto.UINT8 for each in last.attribute)
    return found if is_byte and limits == [0, 255] else None
