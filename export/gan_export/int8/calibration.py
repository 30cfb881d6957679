"""Ranges of activations for 8-bit integers: what a tensor's values were on some images, and where to cut them.

A wide range has large steps, a narrow one cuts values off. Ways to weigh that:

min-max        everything that was seen
percentiles    all but 1, 3 or 10 of ten thousand values
squared error  where steps and cuts together give the smallest mean square error

Where nothing but ReLU, with a ceiling or without, tanh or the logistic function follows, values count for what that
makes of them: those that it makes one and the same have one and the same byte.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from gan_export.rewrite.editing import Editor, bounds_of
from gan_export.tuning import Feed, open_graph

BINS: Final = 4096  # of the histograms
AT_ONCE: Final = 8  # images: all activations of so many are held in memory
SCALES: Final = np.linspace(0.2, 1.0, 65)  # of the whole range, which `squared error` tries

Histogram: TypeAlias = tuple[NDArray[np.float64], NDArray[np.float64]]  # counts, and the middles of their bins


@dataclass(frozen=True)
class Span:
    """How a tensor is written in uint8: value = scale * (byte - zero_point)."""

    scale: np.float32
    zero_point: np.uint8

    @classmethod
    def of(cls, low: float, high: float) -> Span:
        """Over a range, widened to hold zero exactly: paddings are zeros."""
        low, high = min(low, 0.0), max(high, 0.0)
        scale = np.float32(max(high - low, 1e-9) / 255)
        return cls(scale, np.uint8(np.clip(np.rint(-low / scale), 0, 255)))


Ranges: TypeAlias = Mapping[str, Span]
"""Of every tensor, by name."""
Divisors: TypeAlias = Mapping[str, NDArray[np.float32]]
"""What the channels (axis 1) of tensors, by name, are divided by before they are bytes; those left out by nothing."""


class Function(NamedTuple):
    """What follows a tensor."""

    low: float  # below, it is flat: to less than a twentieth of a step of uint8 pixels
    high: float  # above, it is
    of: Callable[[NDArray[Any]], NDArray[Any]]
    slope: Callable[[NDArray[Any]], NDArray[Any]]


def _logistic(x: NDArray[Any]) -> NDArray[Any]:
    made: NDArray[Any] = (1 + np.tanh(x / 2)) / 2
    return made


def _same(x: NDArray[Any]) -> NDArray[Any]:
    return x


NO_FUNCTION: Final = Function(-np.inf, np.inf, _same, np.ones_like)
FUNCTIONS: Final[Mapping[str, Function]] = {
    "Relu": Function(0.0, np.inf, _same, np.ones_like),
    "Tanh": Function(-4.5, 4.5, np.tanh, lambda x: 1 - np.tanh(x) ** 2),
    "Sigmoid": Function(-9.0, 9.0, _logistic, lambda x: _logistic(x) * (1 - _logistic(x))),
}


def function_behind(editor: Editor, name: str) -> Function:
    """What all that uses a tensor makes of each of its values, whatever moves them before."""
    if name in editor.outputs:
        return NO_FUNCTION
    users = editor.users(name)
    found = {
        function_behind(editor, user.output[0]) if editor.is_move(user) else _function_of(editor, user)
        for user in users
    }
    return found.pop() if len(found) == 1 else NO_FUNCTION


def _function_of(editor: Editor, node: onnx.NodeProto) -> Function:
    bounds = bounds_of(editor, node) if node.op_type == "Clip" else None
    return FUNCTIONS.get(node.op_type, NO_FUNCTION) if bounds is None else Function(*bounds, _same, np.ones_like)


def calibrate(
    model: onnx.ModelProto, tensors: Sequence[str], feed: Feed, divisors: Divisors = MappingProxyType({})
) -> dict[str, Ranges]:
    """The ranges of tensors on some images, by method.

    Args:
        model: opset 17.
        tensors: float32 values in it.
        feed: the images' inputs; the first dimension of each is the batch.
        divisors: of their channels; what is left is what the ranges are of.
    """
    low, high = dict.fromkeys(tensors, 0.0), dict.fromkeys(tensors, 0.0)
    editor = Editor(model)
    behind = {name: function_behind(editor, name) for name in tensors}

    def seen() -> Iterator[tuple[str, NDArray[Any]]]:
        for found in values_of(model, tensors, feed):
            for name, array in found.items():
                yield name, divided(np.clip(array, behind[name].low, behind[name].high), divisors.get(name))

    for name, array in seen():
        low[name], high[name] = min(low[name], float(array.min())), max(high[name], float(array.max()))
    edges = {name: np.linspace(low[name], max(high[name], low[name] + 1e-9), BINS + 1) for name in tensors}
    counts = {name: np.zeros(BINS) for name in tensors}
    for name, array in seen():
        counts[name] += np.histogram(array, edges[name])[0]
    middles = {name: (edge[:-1] + edge[1:]) / 2 for name, edge in edges.items()}
    return {
        method: {name: choose((counts[name], middles[name]), low[name], high[name], behind[name]) for name in tensors}
        for method, choose in METHODS.items()
    }


def values_of(model: onnx.ModelProto, tensors: Sequence[str], feed: Feed) -> Iterator[Mapping[str, NDArray[Any]]]:
    """Float32 values in a model, by name, for AT_ONCE images at a time.

    Args:
        model: opset 17.
        tensors: at least one.
        feed: the images' inputs; the first dimension of each is the batch.
    """
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    given_out = {value.name for value in model.graph.output}
    watched.graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in tensors if name not in given_out
    )
    session = open_graph(watched)
    for part in parts_of(feed):
        yield dict(zip(tensors, session.run(list(tensors), part), strict=True))


def divided(array: NDArray[Any], divisor: NDArray[np.float32] | None) -> NDArray[Any]:
    """By its channels' divisors, (N, C, ...)."""
    return array if divisor is None else array / by_channel(divisor, array.ndim)


def by_channel(numbers: NDArray[np.float32], rank: int) -> NDArray[np.float32]:
    """One for each channel, in a shape for tensors of that rank, (N, C, ...)."""
    return numbers.reshape(-1, *[1] * (rank - 2))


def parts_of(feed: Feed) -> Iterator[Feed]:
    """Inputs of AT_ONCE images at a time; the first dimension of each is the batch."""
    for first in range(0, len(next(iter(feed.values()))), AT_ONCE):
        yield {name: array[first : first + AT_ONCE] for name, array in feed.items()}


def _all_of_it(_: Histogram, low: float, high: float, behind: Function) -> Span:  # noqa: ARG001 - one signature
    return Span.of(low, high)


def _percentile(cut: float, histogram: Histogram, low: float, high: float, behind: Function) -> Span:  # noqa: ARG001
    counts, middles = histogram
    share = np.cumsum(counts) / max(counts.sum(), 1)
    sides = (low < 0) + (high > 0)
    lowest = middles[np.searchsorted(share, cut / sides)] if low < 0 and sides else low
    highest = middles[min(int(np.searchsorted(share, 1 - cut / max(sides, 1))), BINS - 1)] if high > 0 else high
    return Span.of(float(lowest), float(highest))


def _squared_error(histogram: Histogram, low: float, high: float, behind: Function) -> Span:
    counts, middles = histogram
    wanted, slopes = behind.of(middles), behind.slope(middles)

    def error(scale: float) -> float:
        span = Span.of(low * scale, high * scale)
        whole = np.clip(np.rint(middles / span.scale) + span.zero_point, 0, 255)
        nearest = (whole - span.zero_point) * span.scale
        inside = (whole > 0) & (whole < 255)
        # Inside, values lie anywhere between two steps; a bin's middle alone would not tell.
        steps = (span.scale * slopes) ** 2 / 12
        return float((counts * np.where(inside, steps, (behind.of(nearest) - wanted) ** 2)).sum())

    best = min(SCALES, key=error)
    return Span.of(low * best, high * best)


METHODS: Final[Mapping[str, Callable[[Histogram, float, float, Function], Span]]] = {
    "min-max": _all_of_it,
    "99.99 percentile": partial(_percentile, 1e-4),
    "99.97 percentile": partial(_percentile, 3e-4),
    "99.9 percentile": partial(_percentile, 1e-3),
    "squared error": _squared_error,
}
