"""Weights of layers in 8-bit integers, rounded for the inputs that the layers have on images that were drawn.

What a layer multiplies its weights with is looked at on some images; behind a ReLU or an upsampling these numbers are
much correlated, so weights can make up for each other's errors (gptq.py). The mean of what is left is taken out of the
bias, as Nagel et al., 2019 (arXiv:1906.04721, 4.2) do it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import prod
from types import MappingProxyType
from typing import Any, Final, TypeAlias

import numpy as np
import onnx
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from gan_export.onnx_graph import attributes_of
from gan_export.rewrite.editing import Editor
from gan_export.tuning import Feed

from .calibration import Divisors, divided, values_of
from .gptq import MOST, nearest, round_rows

LARGEST: Final = 4608  # inputs of one output, 512 channels of 3x3: the time grows with their third power
PLACES: Final = 32  # of each image, at which a convolution's inputs are looked at
MEMORY: Final = 2**28  # bytes of second moments that are held at once, or those of one layer

Array: TypeAlias = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Rounded:
    """The weights of a layer: about whole times the scale of each output."""

    whole: NDArray[np.int8]  # in the shape of the weights
    axis: int  # of the outputs
    scales: NDArray[np.float32]  # of each output
    shift: NDArray[np.float64]  # of each output: what is added to the bias, the mean of the error


def round_weights(
    model: onnx.ModelProto, layers: Iterable[str], feed: Feed, divisors: Divisors = MappingProxyType({})
) -> dict[str, Rounded]:
    """The weights of layers in 8-bit integers, by what the layers make.

    To the nearest, where an output has more than LARGEST inputs, or a convolution's padding is not written out.

    Args:
        model: opset 17.
        layers: what Conv and Gemm nodes with constant weights make.
        feed: inputs of the images; the first dimension of each is the batch.
        divisors: of what the layers are given; their weights are for what is left.
    """
    editor = Editor(model)
    found = {name: _Layer(editor, name, divisors) for name in layers}
    rounded = {name: layer.rounded(None) for name, layer in found.items()}
    # Many products are small. Shared among threads, they take longer on a busy host, and may differ in their last bits.
    with threadpool_limits(1, user_api="blas"):
        for group in _groups({name: layer.memory for name, layer in found.items() if layer.can_be_looked_at}):
            moments = {name: _Moments(found[name]) for name in group}
            for values in values_of(model, list(dict.fromkeys(found[name].input for name in group)), feed):
                for name in group:
                    moments[name].add(values[found[name].input])
            rounded |= {name: found[name].rounded(moments.pop(name)) for name in group}
    return rounded


def _groups(memory: Mapping[str, int]) -> Iterator[list[str]]:
    """Layers whose second moments are held together, each a pass over the images."""
    group = list[str]()
    for name, size in memory.items():
        if group and sum(memory[one] for one in group) + size > MEMORY:
            yield group
            group = []
        group.append(name)
    if group:
        yield group


class _Layer:
    """A layer's weights in rows, and where its inputs are."""

    def __init__(self, editor: Editor, name: str, divisors: Divisors) -> None:
        node = editor.producer(name)
        assert node is not None, name
        weight = editor.constant(node.input[1])
        assert weight is not None, name
        attributes = attributes_of(node)
        self.input = node.input[0]
        self._divisor = divisors.get(self.input)
        self._window = _Window.of(weight, attributes) if node.op_type == "Conv" else None
        self._axis = 0 if self._window or attributes.get("transB", 0) else 1
        outputs_first = np.moveaxis(weight, self._axis, 0)
        self._shape, self.groups = outputs_first.shape, int(attributes.get("group", 1))
        by_input = outputs_first.reshape(self.groups, len(outputs_first) // self.groups, outputs_first.shape[1], -1)
        given = np.ones(self.groups * by_input.shape[2]) if self._divisor is None else self._divisor
        rows = by_input.astype(np.float64) * given.reshape(self.groups, 1, -1, 1)
        self._rows = rows.reshape(*rows.shape[:2], -1)
        self.size = int(self._rows.shape[2])  # inputs of an output
        self.can_be_looked_at = self.size <= LARGEST and attributes.get("auto_pad", b"NOTSET") in (b"NOTSET", b"VALID")

    @property
    def memory(self) -> int:
        """Bytes of the second moments of its inputs."""
        return 8 * self.groups * self.size**2

    def inputs(self, given: Array, chance: np.random.Generator) -> Array:
        """What the weights are multiplied with, (groups, places, inputs of an output)."""
        given = divided(given, self._divisor)
        inputs = given if self._window is None else self._window.places_of(given, chance)
        return inputs.reshape(len(inputs), self.groups, self.size).swapaxes(0, 1)

    def rounded(self, moments: _Moments | None) -> Rounded:
        """For inputs of these moments; to the nearest without."""
        scales = np.maximum(np.abs(self._rows).max(axis=2, keepdims=True) / MOST, 1e-12).astype(np.float32)
        steps = self._rows / scales
        shift = np.zeros(self._rows.shape[:2])
        if moments is None:
            whole = nearest(steps)
        else:
            whole = np.stack([round_rows(*each) for each in zip(steps, moments.covariance, strict=True)])
            shift = ((self._rows - whole * scales.astype(np.float64)) @ moments.mean[:, :, None])[:, :, 0]
        shaped = np.ascontiguousarray(np.moveaxis(whole.reshape(self._shape), 0, self._axis))
        return Rounded(shaped, self._axis, scales.reshape(-1), shift.reshape(-1))


class _Moments:
    """First and second moments of a layer's inputs, by group."""

    def __init__(self, layer: _Layer) -> None:
        self._layer, self._count = layer, 0
        self._chance = np.random.default_rng(0)  # its own: what is seen of a layer does not depend on the others
        self._about: Array | None = None  # the first images' mean: sums about it are small where numbers are large
        self._sum: Array = np.zeros((layer.groups, layer.size))
        self._products: Array = np.zeros((layer.groups, layer.size, layer.size))

    def add(self, given: Array) -> None:
        """What the layer is given for some images, float32."""
        inputs = self._layer.inputs(given, self._chance)
        if self._about is None:
            self._about = inputs.mean(axis=1, dtype=np.float64)
        inputs = inputs - self._about.astype(np.float32)[:, None, :]
        self._count += inputs.shape[1]
        self._sum += inputs.sum(axis=1, dtype=np.float64)
        self._products += inputs.swapaxes(1, 2) @ inputs

    @property
    def mean(self) -> Array:
        """(groups, inputs)."""
        assert self._about is not None
        mean: Array = self._about.astype(np.float32) + self._sum / self._count
        return mean

    @property
    def covariance(self) -> Array:
        """(groups, inputs, inputs)."""
        mean = self._sum / self._count
        covariance: Array = self._products / self._count - mean[:, :, None] * mean[:, None, :]
        return covariance


@dataclass(frozen=True)
class _Window:
    """What a convolution multiplies its weights with at a place, along each axis of the image."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: tuple[tuple[int, int], ...]  # before and after

    @classmethod
    def of(cls, weight: Array, attributes: Mapping[str, Any]) -> _Window:
        """Of a Conv node."""
        rank = weight.ndim - 2
        pads = attributes.get("pads", [0] * 2 * rank)
        return cls(
            kernel=weight.shape[2:],
            strides=tuple(attributes.get("strides", [1] * rank)),
            dilations=tuple(attributes.get("dilations", [1] * rank)),
            pads=tuple(zip(pads[:rank], pads[rank:], strict=True)),
        )

    def places_of(self, given: Array, chance: np.random.Generator) -> Array:
        """The windows at PLACES of each image, as rows: (N, C, ...) -> (N * places, C * prod(kernel))."""
        padded = np.pad(given, ((0, 0), (0, 0), *self.pads))
        reach = [(size - 1) * step + 1 for size, step in zip(self.kernel, self.dilations, strict=True)]
        windows = np.lib.stride_tricks.sliding_window_view(padded, reach, tuple(range(2, given.ndim)))
        steps = [slice(None, None, step) for step in (*self.strides, *self.dilations)]
        windows = np.moveaxis(windows[:, :, *steps], 1, given.ndim - 1)  # (N, places along each axis, C, kernel)
        sizes = windows.shape[1 : given.ndim - 1]
        chosen = [chance.permutation(prod(sizes))[:PLACES] for _ in given]
        rows = [one[np.unravel_index(places, sizes)] for one, places in zip(windows, chosen, strict=True)]
        return np.concatenate(rows).reshape(len(rows) * len(rows[0]), -1)
