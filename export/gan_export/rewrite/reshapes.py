"""Shapes that are computed while the graph runs, and of which only the batch is not known, become constants."""

from __future__ import annotations

from math import prod

import numpy as np
import onnx

from gan_export.onnx_graph import Writer, attributes_of, first_sizes

from .editing import Editor

_AS_IT_IS = ("Cast", "Identity", "Reshape", "Squeeze", "Unsqueeze")  # what leaves a single number the number that it is


def reshapes(model: onnx.ModelProto) -> onnx.ModelProto:
    """Give every Reshape whose result is known but for its first dimension a constant shape.

    Args:
        model: opset 17.
    """
    editor, batches, count = Editor(model), first_sizes(model), 0
    for node in editor.each("Reshape"):
        if editor.constant(node.input[1]) is not None:
            continue
        shape = editor.shapes.get(node.output[0], ())
        if not all(shape[1:]):
            declared = _declared(editor, node, batches)
            shape = declared if len(declared) == len(shape) else ()
        if shape and all(shape[1:]) and not shape[0]:
            write = Writer(editor, node.output[0])
            write("Reshape", node.input[0], np.array([-1, *shape[1:]], np.int64), output=node.output[0])
            editor.replace([node], write.nodes)
            count += 1
    made = editor.done()
    return reshapes(made) if count else made  # what is known now may tell sizes of layers behind


def _declared(editor: Editor, node: onnx.NodeProto, batches: dict[str, str]) -> tuple[int, ...]:
    """What a Concat of constants makes, 0 for what it takes from elsewhere; () if it is something else.

    A -1 among them, as in `z.view(z.size(0), -1, 1, 1)`, is what is left for an image.
    """
    concat = editor.producer(node.input[1])
    if concat is None or concat.op_type != "Concat":
        return ()
    parts = [editor.constant(each) for each in concat.input]
    if any((part is None) != (i == 0) for i, part in enumerate(parts)):
        return ()
    sizes = [int(size) for part in parts if part is not None for size in part]
    batch = batches.get(node.input[0])
    if -1 in sizes and batch and _batch(editor, concat.input[0], batches) == batch:
        rest, others = prod(editor.shapes.get(node.input[0], (0, 0))[1:]), -prod(sizes)
        sizes = [rest // others if size == -1 and others > 0 and rest % others == 0 else size for size in sizes]
    return (0, *sizes) if all(size > 0 for size in sizes) else ()


def _batch(editor: Editor, name: str, batches: dict[str, str]) -> str:
    """The symbol of the first dimension that a number was read from; empty if it was not."""
    node = editor.producer(name)
    while node is not None and node.op_type in _AS_IT_IS:
        node = editor.producer(node.input[0])
    ends: tuple[int, int | None] = (0, 1)
    if node is not None and node.op_type == "Gather":  # of the whole shape
        index, ends = editor.constant(node.input[1]), (0, None)
        node = editor.producer(node.input[0])
        if index is None or index.size != 1 or index.any():
            return ""
    if node is None or node.op_type != "Shape":
        return ""
    attributes = attributes_of(node)
    return batches.get(node.input[0], "") if (attributes.get("start", 0), attributes.get("end")) == ends else ""
