"""A graph under change: what its values are, who makes and uses them, and nodes in place of others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from .tensors import float_shapes, graphs_in, names_in, names_used, unused

ACTIVATIONS: Final = ("Relu", "LeakyRelu", "Clip", "Tanh", "Sigmoid")
"""Functions of each number alone, which may as well be taken before the numbers change their places."""
MOVES: Final = ("Transpose", "Reshape", "Slice", "DepthToSpace", "Flatten", "Squeeze", "Unsqueeze")
"""What gives numbers other places, and no other values."""


class Editor:
    """A copy of a model of opset 17 that is changed in place; `done` gives it back."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._model = onnx.ModelProto()
        self._model.CopyFrom(model)
        graph = self._model.graph
        self.nodes: list[onnx.NodeProto] = list(graph.node)
        self.outputs: Final = {value.name for value in graph.output}
        self.shapes: Final = dict(float_shapes(model))  # float32 alone; 0 for a dimension that is not known
        self._tensors = {tensor.name: tensor for tensor in graph.initializer}
        self._tensors |= {
            node.output[0]: node.attribute[0].t
            for node in graph.node
            if node.op_type == "Constant" and node.attribute[0].name == "value"
        }
        self._names = names_in(graph)

    @property
    def is_flat(self) -> bool:
        """Whether no node has a graph inside it, which may use any of the values around it."""
        return not any(True for node in self.nodes for _ in graphs_in(node))

    def each(self, *kinds: str) -> list[onnx.NodeProto]:
        """The nodes of these operators as they are now, to be replaced one by one; none where the graph is not flat."""
        return [node for node in self.nodes if node.op_type in kinds] if self.is_flat else []

    def constant(self, name: str) -> NDArray[Any] | None:
        """The value of a constant; None if it is computed while the graph runs, or not there at all."""
        tensor = self._tensors.get(name)
        return None if tensor is None else numpy_helper.to_array(tensor)

    def producer(self, name: str) -> onnx.NodeProto | None:
        """The node that makes a value; None for inputs and constants."""
        return next((node for node in self.nodes if name in node.output), None)

    def users(self, name: str) -> list[onnx.NodeProto]:
        """The nodes that use a value."""
        return [node for node in self.nodes if name in node.input]

    def only_user(self, name: str) -> onnx.NodeProto | None:
        """The one node that uses a value; None if there are more, or the graph gives it out."""
        users = self.users(name)
        if len(users) != 1 or name in self.outputs or list(users[0].input).count(name) != 1:
            return None
        return users[0]

    def only_source(self, name: str) -> onnx.NodeProto | None:
        """The node that makes a value which only one node uses."""
        return self.producer(name) if self.only_user(name) is not None else None

    def name(self, base: str) -> str:
        """A name that nothing else has."""
        return unused(base, self._names)

    def add_constant(self, base: str, value: NDArray[Any]) -> str:
        """A new constant; returns its name."""
        name = self.name(base)
        self._tensors[name] = numpy_helper.from_array(np.ascontiguousarray(value), name)
        self._model.graph.initializer.append(self._tensors[name])
        return name

    def replace(self, old: Sequence[onnx.NodeProto], new: Sequence[onnx.NodeProto]) -> None:
        """Put nodes where the last of some others stood."""
        doomed = {id(node) for node in old}
        place = max(i for i, node in enumerate(self.nodes) if id(node) in doomed) + 1
        before = [node for node in self.nodes[:place] if id(node) not in doomed]
        self.nodes = [*before, *new, *self.nodes[place:]]

    def done(self) -> onnx.ModelProto:
        """The model, without nodes and constants that nothing uses."""
        graph = self._model.graph
        live, kept = set(self.outputs), list[onnx.NodeProto]()
        for node in reversed(self.nodes):
            if live.intersection(node.output):
                kept.append(node)
                live |= names_used(node)
        tensors = [tensor for tensor in graph.initializer if tensor.name in live]
        copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in reversed(kept)]
        weights = [onnx.TensorProto.FromString(tensor.SerializeToString()) for tensor in tensors]
        for field in ("node", "initializer", "value_info"):
            graph.ClearField(field)
        graph.node.extend(copies)
        graph.initializer.extend(weights)
        return self._model


class Writer:
    """Nodes one after another, with names that begin with `base`."""

    def __init__(self, editor: Editor, base: str) -> None:
        self._editor, self._base = editor, base
        self.nodes: list[onnx.NodeProto] = []

    def __call__(self, op_type: str, *inputs: str | NDArray[Any], output: str | None = None, **attributes: Any) -> str:
        """Write a node; constants among its inputs become initializers. Returns the name of what it makes."""
        made = output or self._editor.name(f"{self._base}.{op_type.lower()}")
        names = [
            one if isinstance(one, str) else self._editor.add_constant(f"{made}.constant{i}", one)
            for i, one in enumerate(inputs)
        ]
        self.nodes.append(helper.make_node(op_type, names, [made], name=made, **attributes))
        return made

    def constant(self, base: str, value: NDArray[Any]) -> str:
        """A constant with a name of its own."""
        return self._editor.add_constant(base, value)

    def like(self, node: onnx.NodeProto, value: str, output: str | None = None) -> str:
        """The same function of another value, its first input."""
        attributes = attributes_of(node)
        return self(node.op_type, value, *node.input[1:], output=output, **attributes)


def attributes_of(node: onnx.NodeProto) -> dict[str, Any]:
    """A node's attributes by name."""
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def bounds_of(editor: Editor, clip: onnx.NodeProto) -> tuple[float, float] | None:
    """Between what a Clip leaves values as they are; None if that is computed while the graph runs."""
    bounds = [-np.inf, np.inf]
    for i, name in enumerate(clip.input[1:]):
        if name:
            value = editor.constant(name)
            if value is None:
                return None
            bounds[i] = float(value)
    return bounds[0], bounds[1]


def given(node: onnx.NodeProto, index: int) -> str:
    """The name of an input; empty if it is left out."""
    return node.input[index] if index < len(node.input) else ""
