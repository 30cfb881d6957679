"""Shapes that are computed while the graph runs, and of which only the batch is not known, become constants."""

from __future__ import annotations

import numpy as np
import onnx

from gan_export.onnx_graph import Writer

from .editing import Editor


def reshapes(model: onnx.ModelProto) -> onnx.ModelProto:
    """Give every Reshape whose result is known but for its first dimension a constant shape.

    Args:
        model: opset 17.
    """
    editor = Editor(model)
    for node in editor.each("Reshape"):
        if editor.constant(node.input[1]) is not None:
            continue
        shape = editor.shapes.get(node.output[0], ())
        if not all(shape[1:]):
            declared = _declared(editor, node.input[1])
            shape = declared if len(declared) == len(shape) else ()
        if shape and all(shape[1:]) and not shape[0]:
            write = Writer(editor, node.output[0])
            write("Reshape", node.input[0], np.array([-1, *shape[1:]], np.int64), output=node.output[0])
            editor.replace([node], write.nodes)
    return editor.done()


def _declared(editor: Editor, name: str) -> tuple[int, ...]:
    """What a Concat of constants makes, 0 for what it takes from elsewhere; () if it is something else."""
    concat = editor.producer(name)
    if concat is None or concat.op_type != "Concat":
        return ()
    parts = [editor.constant(each) for each in concat.input]
    if any((part is None) != (i == 0) or (part is not None and (part < 1).any()) for i, part in enumerate(parts)):
        return ()
    return tuple(int(size) for part in parts for size in (np.zeros(1) if part is None else part))
