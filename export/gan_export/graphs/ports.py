"""The inputs and outputs of a graph as plain data."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from onnx import TensorProto, ValueInfoProto, helper

from gan_export.refusal import IntakeError
from gan_export.untrusted.messages import shown

FLOATS: Final = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE)
INTEGERS: Final = (TensorProto.INT64, TensorProto.INT32)
MAX_LISTED: Final = 6


@dataclass(frozen=True)
class Port:
    """An input or output of a graph."""

    name: str
    type: int  # of TensorProto; 0 for no tensor
    shape: tuple[int | str, ...] | None  # text for a dimension that is not fixed; None if nothing is known

    @property
    def rank(self) -> int | None:
        """Number of axes; None if it is not known."""
        return None if self.shape is None else len(self.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """NumPy's name for its type."""
        return helper.tensor_dtype_to_np_dtype(self.type)

    def fixed(self, axis: int) -> int | None:
        """Length of an axis; None if it is not fixed."""
        size = None if self.shape is None else self.shape[axis]
        return size if isinstance(size, int) else None

    def describe(self) -> str:
        """Name, type and shape in words."""
        types = {number: word.lower() for word, number in TensorProto.DataType.items()}
        kind = {"float": "float32", "double": "float64", "undefined": "no tensor"}.get(
            types.get(self.type, "?"), types.get(self.type, "?")
        )
        shape = "of unknown shape" if self.shape is None else f"({', '.join(map(str, self.shape))})"
        return f"{shown(self.name)} {kind} {shown(shape)}"


def ports(values: Iterable[ValueInfoProto]) -> list[Port]:
    """Inputs or outputs as plain data."""
    found = []
    for value in values:
        tensor = value.type.tensor_type
        shape = None
        if tensor.HasField("shape"):
            shape = tuple(
                dim.dim_value if dim.HasField("dim_value") else dim.dim_param or "?" for dim in tensor.shape.dim
            )
        found.append(Port(value.name, tensor.elem_type, shape))
    return found


def named(found: list[Port], name: str, option: str, kind: str) -> Port:
    """The one of that name; raises IntakeError, with the `option` that gave it, if there is none."""
    for port in found:
        if port.name == name:
            return port
    raise IntakeError(f"{option} {shown(name)}: there is no such {kind}; its {kind}s: {listed(found)}")


def narrowed(found: list[Port], wanted: Callable[[Port], bool]) -> list[Port]:
    """Those that are wanted; all if none is."""
    return [port for port in found if wanted(port)] or found


def listed(found: list[Port]) -> str:
    """Some of them in words."""
    more = f" and {len(found) - MAX_LISTED} more" if len(found) > MAX_LISTED else ""
    return (", ".join(port.describe() for port in found[:MAX_LISTED]) or "none") + more
