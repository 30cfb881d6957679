"""The values of one tensor -> a NumPy array, from a JSON list or from bytes. Pure functions; they raise
InvalidRequestError and nothing else.
"""

from __future__ import annotations

import itertools
import math
from typing import Any, Final, NoReturn

import numpy as np
from numpy.typing import NDArray

from gan_serving.errors import InvalidRequestError
from gan_serving.messages import counted, show

_LARGEST_FLOAT: Final = float(np.finfo(np.float32).max)


def from_binary(data: memoryview, shape: tuple[int, ...], wire: np.dtype[Any], name: str) -> NDArray[Any]:
    """An array of its own: aligned, in native byte order, and the request's body can go.

    Args:
        data: as many bytes as the shape needs.
        shape: at least one value.
        wire: dtype on the wire, little-endian.
        name: of the tensor, for messages.
    """
    array = np.frombuffer(data, wire).reshape(shape)
    if wire.kind == "f" and not np.isfinite(array).all():
        _refuse(array[~np.isfinite(array)][0].item(), wire, name)
    return array.astype(wire.newbyteorder("="))


def from_json(data: object, shape: tuple[int, ...], wire: np.dtype[Any], name: str) -> NDArray[Any]:
    """The array of a JSON tensor, whose values come as rows or one after the other.

    Floats are rounded to float32 as `/generate` rounds its latents; whole numbers must be whole and in range.
    """
    values = _flat(data, shape, name)
    allowed = (int, float) if wire.kind == "f" else (int,)
    for kind in set(map(type, values)).difference(allowed):  # true is no number, though Python says so
        _refuse(next(value for value in values if type(value) is kind), wire, name)
    if wire.kind == "f":
        return _floats(values, wire, name).reshape(shape)
    limits = np.iinfo(wire)
    for extreme in (min(values), max(values)):
        if not limits.min <= extreme <= limits.max:
            _refuse(extreme, wire, name)
    return np.array(values, wire.newbyteorder("=")).reshape(shape)


def _floats(values: list[Any], wire: np.dtype[Any], name: str) -> NDArray[Any]:
    try:
        wide = np.array(values, np.float64)
    except OverflowError:
        _refuse(max(values, key=abs), wire, name)
    finite = np.abs(wide) <= _LARGEST_FLOAT
    if not finite.all():
        _refuse(wide[~finite][0].item(), wire, name)
    return wide.astype(np.float32)


def _flat(data: object, shape: tuple[int, ...], name: str) -> list[Any]:
    if not isinstance(data, list):
        raise InvalidRequestError(f"data of {name} is {show(data)}; it must be a list", name)
    values = data
    if len(shape) == 2 and data and isinstance(data[0], list):
        for i, row in enumerate(data):
            if not isinstance(row, list) or len(row) != shape[1]:
                numbers = counted(shape[1], "number", "numbers")
                raise InvalidRequestError(
                    f"data[{i}] of {name} is {show(row)}; each row must be a list of {numbers}", name
                )
        values = list(itertools.chain.from_iterable(data))
    if len(values) != math.prod(shape):
        given = counted(len(values), "value", "values")
        raise InvalidRequestError(
            f"data of {name} has {given}, but its shape {list(shape)} has {math.prod(shape)}", name
        )
    return values


def _refuse(value: object, wire: np.dtype[Any], name: str) -> NoReturn:
    rule = "finite float32 numbers" if wire.kind == "f" else f"whole numbers of the type {wire.name}"
    raise InvalidRequestError(f"data of {name} holds {show(value)}; it must hold {rule}", name)
