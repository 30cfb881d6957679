"""A graph under change: what its values are, who makes and uses them, and nodes in place of others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from gan_export.onnx_graph import attributes_of, float_shapes, graphs_in, names_in, names_used, unused

ACTIVATIONS: Final = ("Relu", "LeakyRelu", "Clip", "Tanh", "Sigmoid")
"""Functions of each number alone, which may as well be taken before the numbers change their places."""
MOVES: Final = ("Transpose", "Reshape", "Slice", "DepthToSpace", "Flatten", "Squeeze", "Unsqueeze")
"""What gives numbers other places, and no other values; `Editor.is_move` knows more of them."""


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

    def is_move(self, node: onnx.NodeProto) -> bool:
        """Whether a node gives the numbers of its first input other places, and nothing but zeros to them."""
        if node.op_type == "Gather":
            return self.constant(node.input[0]) is None and self.constant(node.input[1]) is not None
        if node.op_type == "Pad":
            value = self.constant(node.input[2]) if len(node.input) > 2 and node.input[2] else np.zeros(())
            is_constant = attributes_of(node).get("mode", b"constant") == b"constant"
            return is_constant and value is not None and not value.any()
        return node.op_type in MOVES

    def name(self, base: str) -> str:
        """A name that nothing else has."""
        return unused(base, self._names)

    def add_constant(self, base: str, value: NDArray[Any]) -> str:
        """A new constant; returns its name."""
        name = self.name(base)
        self._tensors[name] = numpy_helper.from_array(np.asarray(value, order="C"), name)  # a scalar stays one
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
