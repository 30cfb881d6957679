"""What a node's lowering may ask and use: the constants and shapes around it, and names for what it adds."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Final

import onnx
from numpy.typing import NDArray
from onnx import NodeProto, numpy_helper

from gan_export.onnx_graph import input_name, unused

OPSET: Final = 17
UNKNOWN: Final = "the graph"
FORWARD: Final = "forward itself"  # not in one of its submodules


class LoweringError(RuntimeError):
    """An operator that opset 17 can't express; the message is one line."""

    def __init__(self, node: NodeProto, why: str) -> None:
        self.operator = node.op_type
        self.origin = origin_of(node)
        super().__init__(f"{node.op_type} in {self.origin}: {why}")


@dataclass
class Scope:
    """What is known of the values that a node may refer to."""

    constants: dict[str, NDArray[Any]]
    shapes: dict[str, list[int | None]]
    added: list[onnx.TensorProto] = field(default_factory=list)
    names: set[str] = field(default_factory=set)

    def constant(self, node: NodeProto, index: int) -> NDArray[Any] | None:
        """The value of an input; None if it is left out.

        Raises:
            LoweringError: it is computed while the graph runs.
        """
        name = input_name(node, index)
        if not name:
            return None
        if name not in self.constants:
            raise LoweringError(
                node, f"its input {index} is computed while the graph runs, opset {OPSET} needs a constant"
            )
        return self.constants[name]

    def shape(self, node: NodeProto) -> list[int | None]:
        """Shape of the first input, None for a dimension that is not fixed."""
        if node.input[0] not in self.shapes:
            raise LoweringError(node, "the rank of its input is not known")
        return self.shapes[node.input[0]]

    def add(self, node: NodeProto, suffix: str, value: NDArray[Any]) -> str:
        """A new constant; returns its name."""
        name = self.name(node, suffix)
        self.added.append(numpy_helper.from_array(value, name))
        self.constants[name] = value
        return name

    def name(self, node: NodeProto, suffix: str) -> str:
        """A name that nothing else has."""
        return unused(f"{node.output[0]}_{suffix}", self.names)


def origin_of(node: NodeProto) -> str:
    """The submodule that a node came from, as the exporter noted it, e.g. `main.3`, or that it is
    in none; else the node's name."""
    notes = {prop.key: prop.value for prop in node.metadata_props}
    scopes = notes.get("pkg.torch.onnx.name_scopes", "")
    parts = [part.strip(" '\"") for part in scopes.strip("[]").split(",")]
    # The last scope is the operation itself; the one before is the submodule.
    path = next((part for part in reversed(parts[:-1]) if part), "")
    return own_name(path) or (FORWARD if path else "") or node.name or UNKNOWN


def own_name(path: str) -> str:
    """A submodule's path as its author knows it, without the wrappers of this package around the generator."""
    return re.sub(r"^(generator(\.|$))+", "", path)
