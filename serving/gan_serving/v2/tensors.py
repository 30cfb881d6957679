"""The inputs of a request -> NumPy arrays by name.

Binary data stands behind the JSON object: little-endian, row-major, in the order of the inputs. Names, types, shapes,
counts and lengths are compared with each other and with what is there before an array is made. Pure functions; they
raise InvalidRequestError and nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gan_serving.errors import InvalidRequestError
from gan_serving.messages import counted, show

from .values import from_binary, from_json
from .wire import LENGTH_HEADER, an_object

_WIRE_TYPES: Final[Mapping[str, np.dtype[Any]]] = {
    "FP32": np.dtype("<f4"),
    "INT64": np.dtype("<i8"),
    "UINT64": np.dtype("<u8"),
}
_FIELDS: Final = ("name", "shape", "datatype", "parameters", "data")


@dataclass(frozen=True)
class Rule:
    """What one input may be."""

    name: str
    datatypes: tuple[str, ...]  # of _WIRE_TYPES
    row: tuple[int, ...] = ()  # the shape is (N, *row)

    @property
    def row_values(self) -> int:
        """Values of one image."""
        return math.prod(self.row)

    def __str__(self) -> str:
        """As a request has to give it: `z FP32 [N, 64]`."""
        return f"{self.name} {' or '.join(self.datatypes)} [{', '.join(['N', *map(str, self.row)])}]"


def read_tensors(inputs: object, binary: memoryview, rules: Sequence[Rule], max_n: int) -> dict[str, NDArray[Any]]:
    """The input tensors by name: known names and types, the same N from 1 to `max_n`, finite floats.

    Args:
        inputs: `inputs` of the request.
        binary: what stands behind the JSON object; the inputs must use all of it.
        rules: the inputs there are.
        max_n: images in a request at most.

    Returns:
        Arrays of shape (N, *row), each a copy of its own.
    """
    if not isinstance(inputs, list) or not inputs:
        raise InvalidRequestError(f"inputs is {show(inputs)}; it must be a list of tensors: {_known(rules)}", "inputs")
    tensors: dict[str, NDArray[Any]] = {}
    offset = 0
    for given in inputs:
        entry = an_object(given, "an entry of inputs")
        rule = _rule_of(entry, rules)
        if rule.name in tensors:
            raise InvalidRequestError(f"{rule.name} is given twice among the inputs", rule.name)
        wire, shape = _type_of(entry, rule), _shape_of(entry, rule, max_n)
        size = _binary_size(entry, rule)
        if size is None:
            tensors[rule.name] = from_json(entry["data"], shape, wire, rule.name)
        else:
            _check_size(size, len(binary) - offset, shape, wire, rule)
            tensors[rule.name] = from_binary(binary[offset : offset + size], shape, wire, rule.name)
            offset += size
    if offset != len(binary):
        raise InvalidRequestError(
            f"{len(binary)} bytes follow the JSON object, but the inputs' binary_data_size are {offset} together; "
            f"set them and {LENGTH_HEADER} to the true sizes",
            "inputs",
        )
    _check_alike(tensors)
    return tensors


def _known(rules: Sequence[Rule]) -> str:
    return ", ".join(map(str, rules))


def _rule_of(entry: dict[str, Any], rules: Sequence[Rule]) -> Rule:
    for field in entry:
        if field not in _FIELDS:
            raise InvalidRequestError(
                f"unknown field {show(field)} of an input; expected one of {', '.join(_FIELDS)}", "inputs"
            )
    name = entry.get("name")
    for rule in rules:
        if rule.name == name:
            return rule
    raise InvalidRequestError(f"{show(name)} is not an input of this model; it has {_known(rules)}", "inputs")


def _type_of(entry: dict[str, Any], rule: Rule) -> np.dtype[Any]:
    datatype = entry.get("datatype")
    if isinstance(datatype, str) and datatype in rule.datatypes:
        return _WIRE_TYPES[datatype]
    raise InvalidRequestError(
        f"datatype of {rule.name} is {show(datatype)}; it must be {' or '.join(rule.datatypes)}", rule.name
    )


def _shape_of(entry: dict[str, Any], rule: Rule, max_n: int) -> tuple[int, ...]:
    shape = entry.get("shape")
    if (
        isinstance(shape, list)
        and len(shape) == 1 + len(rule.row)
        and all(type(side) is int for side in shape)  # true is no number, though Python says so
        and tuple(shape[1:]) == rule.row
        and 1 <= shape[0] <= max_n
    ):
        return tuple(shape)
    raise InvalidRequestError(
        f"shape of {rule.name} is {show(shape)}; it must be that of {rule} with N from 1 to {max_n}", rule.name
    )


def _binary_size(entry: dict[str, Any], rule: Rule) -> int | None:
    """`binary_data_size`, or None for a tensor with `data`."""
    parameters = an_object(entry.get("parameters", {}), f"parameters of {rule.name}")
    for key in parameters:
        if key.startswith("shared_memory"):
            raise InvalidRequestError(
                f"{show(key)} of {rule.name}: shared memory is not offered; send the data", rule.name
            )
        if key != "binary_data_size":
            raise InvalidRequestError(
                f"unknown parameter {show(key)} of {rule.name}; expected binary_data_size", rule.name
            )
    size = parameters.get("binary_data_size")
    if (size is None) == ("data" not in entry):
        what = "neither data nor binary_data_size" if size is None else "both data and binary_data_size"
        raise InvalidRequestError(f"{rule.name} has {what}; give one of them", rule.name)
    if size is None or type(size) is int:
        return size
    raise InvalidRequestError(
        f"binary_data_size of {rule.name} is {show(size)}; it must be a number of bytes", rule.name
    )


def _check_size(size: int, left: int, shape: tuple[int, ...], wire: np.dtype[Any], rule: Rule) -> None:
    needed = math.prod(shape) * wire.itemsize
    if size != needed:
        raise InvalidRequestError(
            f"binary_data_size of {rule.name} is {show(size)}, but its shape {list(shape)} needs {needed} bytes",
            rule.name,
        )
    if size > left:
        rest = counted(left, "byte", "bytes")
        raise InvalidRequestError(
            f"binary_data_size of {rule.name} is {size}, but the body has only {rest} left for it; "
            f"set it and {LENGTH_HEADER} to the true sizes",
            rule.name,
        )


def _check_alike(tensors: Mapping[str, NDArray[Any]]) -> None:
    (first, one), *others = tensors.items()
    for name, other in others:
        if len(other) != len(one):
            images = counted(len(one), "image", "images")
            raise InvalidRequestError(
                f"{first} is for {images} and {name} for {len(other)}; N must be the same in all inputs", name
            )
