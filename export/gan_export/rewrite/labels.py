"""A label's embedding, joined to the latent before a matrix product, adds the same row for every image of its class.

x = [z, E(label)] W + b is z W_z + T(label) with the table T = E W_e + b, which is computed once: the product gets
narrower, and the lookup takes the place of the bias.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import onnx

from gan_export.onnx_graph import Writer, attributes_of, input_name

from .editing import Editor

MAX_TABLE: Final = 16 * 2**20  # bytes: a larger one would grow the file for little


def labels(model: onnx.ModelProto) -> onnx.ModelProto:
    """Replace Gather, Concat and Gemm by that, where weights and embedding are constants.

    Args:
        model: opset 17.
    """
    editor = Editor(model)
    for node in editor.each("Gemm", "MatMul"):
        _replace(editor, node)
    return editor.done()


def _replace(editor: Editor, node: onnx.NodeProto) -> None:
    attributes = attributes_of(node)
    concat = editor.producer(node.input[0])
    weight, bias = editor.constant(node.input[1]), editor.constant(input_name(node, 2))
    if concat is None or concat.op_type != "Concat" or attributes_of(concat)["axis"] not in (1, -1):
        return
    if weight is None or weight.ndim != 2 or attributes.get("transA", 0) or (input_name(node, 2) and bias is None):
        return
    lookups = {i: found for i, name in enumerate(concat.input) if (found := _lookup(editor, name)) is not None}
    if len(lookups) != 1 or len(concat.input) != 2:
        return
    ((place, (embedding, label)),) = lookups.items()
    latent = concat.input[1 - place]
    shape = editor.shapes.get(latent, ())
    matrix = (weight.T if attributes.get("transB", 0) else weight).astype(np.float64) * attributes.get("alpha", 1.0)
    width = embedding.shape[1]
    if len(shape) != 2 or shape[1] + width != len(matrix) or len(embedding) * matrix.shape[1] * 4 > MAX_TABLE:
        return
    of_label = matrix[-width:] if place else matrix[:width]
    of_latent = matrix[:-width] if place else matrix[width:]
    table = embedding @ of_label + (0.0 if bias is None else bias * attributes.get("beta", 1.0))
    write = Writer(editor, node.output[0])
    rows = write("Gather", editor.add_constant(f"{node.input[1]}.table", table.astype(np.float32)), label)
    weights = editor.add_constant(f"{node.input[1]}.latent", of_latent.astype(np.float32))
    write("Gemm", latent, weights, rows, output=node.output[0])
    editor.replace([node], write.nodes)


def _lookup(editor: Editor, name: str) -> tuple[np.ndarray, str] | None:
    """Embedding (K, E) and label of a value that is looked up."""
    gather = editor.producer(name)
    if gather is None or gather.op_type != "Gather" or attributes_of(gather).get("axis", 0) != 0:
        return None
    embedding = editor.constant(gather.input[0])
    if embedding is None or embedding.ndim != 2 or len(editor.shapes.get(name, ())) != 2:
        return None
    return embedding.astype(np.float64), gather.input[1]
