"""What rewrites ask of a graph."""

from __future__ import annotations

from collections.abc import Iterator

import onnx
from onnx import GraphProto, NodeProto, helper, shape_inference


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


def graphs_in(node: NodeProto) -> Iterator[GraphProto]:
    """The graphs that a node holds, such as the branches of an If."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def names_used(node: NodeProto) -> set[str]:
    """Names that a node refers to, also from the graphs inside it."""
    used = set(node.input)
    for inner in graphs_in(node):
        used.update(value.name for value in inner.output)
        for child in inner.node:
            used |= names_used(child)
    return used


def names_in(graph: GraphProto) -> set[str]:
    """Names of all values in a graph, and in the graphs inside it."""
    names = {value.name for value in (*graph.input, *graph.output, *graph.initializer)}
    for node in graph.node:
        names.update(node.input, node.output)
        for inner in graphs_in(node):
            names |= names_in(inner)
    return names


def unused(base: str, names: set[str]) -> str:
    """A name that none of these is, and which is one of them from now on."""
    name, count = base, 1
    while name in names:
        count += 1
        name = f"{base}{count}"
    names.add(name)
    return name


def attribute(node: onnx.NodeProto, name: str, default: float) -> float:
    """A number among a node's attributes."""
    return next((float(helper.get_attribute_value(each)) for each in node.attribute if each.name == name), default)
