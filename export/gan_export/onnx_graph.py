"""Graphs of ONNX: what they hold and refer to, and new nodes for them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, Protocol

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import GraphProto, NodeProto, helper, numpy_helper, shape_inference

RANDOM: Final = ("Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike")
"""Operators whose results are drawn."""


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


def first_sizes(model: onnx.ModelProto) -> dict[str, str]:
    """The symbols by which shape inference tells the first dimensions that are not known from each other."""
    graph = shape_inference.infer_shapes(model).graph
    shapes = {value.name: value.type.tensor_type.shape.dim for value in (*graph.value_info, *graph.input)}
    return {name: dims[0].dim_param for name, dims in shapes.items() if dims and dims[0].dim_param}


def graphs_in(node: NodeProto) -> Iterator[GraphProto]:
    """The graphs that a node holds, such as the branches of an If."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def nodes_in(graph: GraphProto) -> Iterator[NodeProto]:
    """Nodes of a graph and of the graphs inside it."""
    for node in graph.node:
        yield node
        for inner in graphs_in(node):
            yield from nodes_in(inner)


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


def input_name(node: NodeProto, index: int) -> str:
    """Name of an input; empty if it is left out."""
    return node.input[index] if index < len(node.input) else ""


def draws(node: NodeProto) -> bool:
    """Whether running a node twice may give two results; graphs inside it are not looked at."""
    return node.op_type in RANDOM or (node.op_type == "Dropout" and len(node.input) > 2)


def attributes_of(node: NodeProto) -> dict[str, Any]:
    """A node's attributes by name."""
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


class Values(Protocol):
    """Whoever gives new values of a graph their names."""

    def name(self, base: str) -> str:
        """A name that nothing else has."""
        ...

    def add_constant(self, base: str, value: NDArray[Any]) -> str:
        """A new constant; returns its name."""
        ...


class NewValues:
    """New names and constants for a graph whose names are `names`."""

    def __init__(self, names: set[str]) -> None:
        self._names = names
        self.constants: list[onnx.TensorProto] = []

    def name(self, base: str) -> str:
        """A name that nothing else has."""
        return unused(base, self._names)

    def add_constant(self, base: str, value: NDArray[Any]) -> str:
        """A new constant; returns its name."""
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), self.name(base)))
        return self.constants[-1].name


class Writer:
    """Nodes one after another, with names that begin with `base`."""

    def __init__(self, values: Values, base: str) -> None:
        self._values, self._base = values, base
        self.nodes: list[NodeProto] = []

    def __call__(
        self, op_type: str, *inputs: str | float | NDArray[Any], output: str | None = None, **attributes: Any
    ) -> str:
        """Write a node; constants among its inputs, of which numbers are float32, become initializers.

        Returns the name of what it makes.
        """
        made = output or self._values.name(f"{self._base}.{op_type.lower()}")
        names = [
            one if isinstance(one, str) else self._values.add_constant(f"{made}.constant{i}", _array(one))
            for i, one in enumerate(inputs)
        ]
        self.nodes.append(helper.make_node(op_type, names, [made], name=made, **attributes))
        return made

    def constant(self, base: str, value: NDArray[Any]) -> str:
        """A constant with a name of its own."""
        return self._values.add_constant(base, value)

    def like(self, node: NodeProto, value: str, output: str | None = None) -> str:
        """The same function of another value, its first input."""
        return self(node.op_type, value, *node.input[1:], output=output, **attributes_of(node))


def _array(value: float | NDArray[Any]) -> NDArray[Any]:
    return np.array(value, np.float32) if isinstance(value, float) else value
