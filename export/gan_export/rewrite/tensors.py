"""What rewrites ask of a graph."""

from __future__ import annotations

from collections.abc import Iterator

import onnx
from onnx import helper, shape_inference


def float_shapes(model: onnx.ModelProto) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and shapes of the float32 tensors; 0 for a dimension that is not known, () for a shape that is not."""
    graph = shape_inference.infer_shapes(model).graph
    for value in (*graph.value_info, *graph.input, *graph.output):
        tensor = value.type.tensor_type
        if tensor.elem_type == onnx.TensorProto.FLOAT:
            yield value.name, tuple(dim.dim_value for dim in tensor.shape.dim)
    for weight in graph.initializer:
        if weight.data_type == onnx.TensorProto.FLOAT:
            yield weight.name, tuple(weight.dims)


def attribute(node: onnx.NodeProto, name: str, default: float) -> float:
    """A number among a node's attributes."""
    return next((float(helper.get_attribute_value(each)) for each in node.attribute if each.name == name), default)
