"""Weights that are computed of others, as by spectral norm or an equalised learning rate, are stored as they come out.

Exporters leave large ones to the runtime, which computes them when it opens the graph. But no rewrite knows such a
layer's weights then, and int8 has nothing to round.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from gan_export.artifact.runtime import open_cpu
from gan_export.lowering import IR_VERSION, OPSET
from gan_export.onnx_graph import draws

from .editing import Editor

_NARROW: Final = ("DequantizeLinear",)  # its input is a fraction of its result's size, and may be for integer kernels


def weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """Compute float32 weights that follow from constants alone, with ONNX Runtime; none larger than what it is made of.

    Args:
        model: opset 17.

    Raises:
        GRAPH_ERRORS of tuning.py: ONNX Runtime can't compute them.
    """
    editor = Editor(model)
    nodes: list[onnx.NodeProto] = []
    origins: dict[str, str] = {}  # of what they make: the largest constant that it is made of
    for node in editor.nodes if editor.is_flat else []:
        if origin := _origin(editor, node, origins):
            nodes.append(node)
            origins[node.output[0]] = origin
    others = [node for node in editor.nodes if node.output[0] not in origins]
    used = {name for node in others for name in node.input}
    values = _computed(editor, nodes, [name for name in origins if name in used])
    stored = {name: editor.add_constant(f"{origins[name]}.computed", value) for name, value in values.items()}
    for node in others:
        node.input[:] = [stored.get(name, name) for name in node.input]
    return editor.done()


def _origin(editor: Editor, node: onnx.NodeProto, origins: Mapping[str, str]) -> str:
    """The largest constant that a weight is made of; empty if this node does not make a weight of constants."""
    made, given = node.output[0], [name for name in node.input if name]
    if not given or len(node.output) > 1 or made not in editor.shapes or node.op_type in _NARROW or draws(node):
        return ""
    if any(name not in origins and editor.constant(name) is None for name in given):
        return ""
    sizes = {name: _size(editor, name) for name in given}
    largest = max(sizes, key=sizes.__getitem__)
    return origins.get(largest, largest) if 0 < prod(editor.shapes[made]) <= sizes[largest] else ""


def _size(editor: Editor, name: str) -> int:
    value = editor.constant(name)
    return prod(editor.shapes[name]) if value is None else value.size


def _computed(editor: Editor, nodes: list[onnx.NodeProto], names: list[str]) -> dict[str, NDArray[np.float32]]:
    """Values of these names, which the nodes make of constants."""
    if not names:
        return {}
    given = {name: editor.constant(name) for node in nodes for name in node.input}
    constants = [numpy_helper.from_array(value, name) for name, value in given.items() if value is not None]
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, editor.shapes[name]) for name in names]
    graph = helper.make_graph(nodes, "weights", [], outputs, constants)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    return dict(zip(names, open_cpu(made.SerializeToString()).run(names, {}), strict=True))
