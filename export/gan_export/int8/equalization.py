"""Channels of like size: what those of a tensor are divided by before it is written in 8 bits.

A tensor has one scale, which its largest channels decide, so that small ones have few of its 255 steps. Divided by
their root mean square, or by the root of that, all have many. What made the tensor does so by its own scales, and the
weights that it is multiplied with take the divisors in (after Nagel et al., 2019, arXiv:1906.04721, 4.1), so that it
costs nothing but those weights' own steps. Whether it pays is for `quantize.py` to measure.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final, TypeAlias

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from gan_export.rewrite.editing import Editor
from gan_export.tuning import Feed, open_graph

from .calibration import Divisors, values_of
from .graph import made_by, source_of, tensors_of

LEAST: Final = 0.01  # of the largest channel: smaller ones are divided as if they were as large as that

Array: TypeAlias = NDArray[Any]
Sizes: TypeAlias = Mapping[str, NDArray[np.float64]]
"""Root mean squares of the channels (axis 1) of a tensor, which is the first, and of what layers are given of it."""


def sizes_of(model: onnx.ModelProto, layers: Collection[str], feed: Feed) -> dict[str, Sizes]:
    """Of each tensor whose channels may be divided.

    Channels whose numbers come together in one channel of a layer's input share their size.

    Args:
        model: opset 17.
        layers: what Conv and Gemm nodes make.
        feed: inputs of the images; the first dimension of each is the batch.
    """
    editor = Editor(model)
    groups = {name: found for name in tensors_of(model, layers) if (found := _groups(editor, name, layers))}
    squares = {name: np.zeros(len(groups[name][name])) for name in groups}
    for values in values_of(model, list(groups), feed) if groups else ():
        for name, array in values.items():
            squares[name] += np.square(array, dtype=np.float64).mean(axis=tuple(range(2, array.ndim))).sum(axis=0)
    images = len(next(iter(feed.values())))
    return {name: _shared(squares[name] / images, found) for name, found in groups.items()}


def divisors_of(sizes: Sizes, power: float) -> Divisors:
    """The sizes to a power of 0 to 1, in parts of their geometric mean over the tensor's channels."""
    largest = max(float(each.max()) for each in sizes.values())
    if not largest > 0:
        return {name: np.ones(len(each), np.float32) for name, each in sizes.items()}
    logs = {name: np.log(np.maximum(each / largest, LEAST)) * power for name, each in sizes.items()}
    middle = next(iter(logs.values())).mean()
    return {name: np.exp(each - middle).astype(np.float32) for name, each in logs.items()}


def _shared(squares: Array, groups: Mapping[str, Array]) -> Sizes:
    own = next(iter(groups.values()))
    count = 1 + max(int(each.max()) for each in groups.values())  # more than there are in `own`, where some are padding
    sums, counts = np.bincount(own, squares, count), np.bincount(own, minlength=count)
    return {name: np.sqrt(sums[each] / np.maximum(counts[each], 1)) for name, each in groups.items()}


def _groups(editor: Editor, name: str, layers: Collection[str]) -> dict[str, Array]:
    """Which channels of a tensor, and of the layers' inputs that are moved from it, must have the same divisor.

    A number for each channel, the same within a group. Empty where the tensor is not divided: where its bytes end at a
    ceiling, where others use what is moved from it too, where it is moved to is computed, and where anything but the
    layers and sums reads it. ONNX Runtime computes much of that in bytes, with one scale for all channels.
    """
    shape, movers = editor.shapes.get(name, ()), list(_movers(editor, name))
    if len(shape) < 2 or not all(shape[1:]) or made_by(editor, name).op_type == "Clip":
        return {}
    readers = [user for each in (name, *(one.output[0] for one in movers)) for user in editor.users(each)]
    if any(one.op_type != "Add" and one.output[0] not in layers and not editor.is_move(one) for one in readers):
        return {}
    if name in editor.outputs or not all(_is_settled(editor, one) for one in movers):
        return {}
    inputs = dict.fromkeys(made_by(editor, layer).input[0] for layer in layers)
    ends = [given for given in inputs if given != name and source_of(editor, given) == name]
    numbers = np.arange(1, shape[1] + 1, dtype=np.float32)  # 0 is for padding
    whole = np.broadcast_to(numbers.reshape(1, -1, *[1] * (len(shape) - 2)), (1, *shape[1:]))
    moved = _moved(editor, name, movers, ends, whole) if ends else {}
    return _connected({name: numbers.reshape(1, -1), **moved}, int(shape[1]))


def _is_settled(editor: Editor, mover: onnx.NodeProto) -> bool:
    """Whether it moves by constants alone, for one user."""
    by = [given for given in mover.input[1:] if given]
    return editor.only_user(mover.output[0]) is not None and all(editor.constant(given) is not None for given in by)


def _movers(editor: Editor, name: str) -> Iterator[onnx.NodeProto]:
    for user in editor.users(name):
        if editor.is_move(user):
            yield user
            yield from _movers(editor, user.output[0])


def _moved(
    editor: Editor, name: str, movers: Collection[onnx.NodeProto], ends: Collection[str], numbers: Array
) -> dict[str, Array]:
    """What moves make of a tensor's numbers, float32."""
    constants = {given: editor.constant(given) for mover in movers for given in mover.input[1:] if given}
    graph = helper.make_graph(
        list(movers),
        "moves",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, *numbers.shape[1:]])],
        [helper.make_tensor_value_info(end, TensorProto.FLOAT, None) for end in ends],
        [numpy_helper.from_array(value, given) for given, value in constants.items() if value is not None],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return dict(zip(ends, open_graph(model).run(list(ends), {name: np.ascontiguousarray(numbers)}), strict=True))


def _connected(found: Mapping[str, Array], channels: int) -> dict[str, Array]:
    """Groups of channels, by tensor: those that have a number of the first tensor's channels in common.

    Args:
        found: where the channels of the first, whose numbers are 1 to `channels`, have come to; 0 is padding.
        channels: of the first.
    """
    sizes = {name: array.shape[1] for name, array in found.items()}
    firsts = dict(zip(found, np.cumsum([channels + 1, *sizes.values()]), strict=False))
    pairs = []
    for name, array in found.items():
        own = np.broadcast_to(np.arange(sizes[name]).reshape(1, -1, *[1] * (array.ndim - 2)), array.shape)
        pairs.append(np.stack([array[array > 0].astype(np.int64), own[array > 0] + firsts[name]]))
    one, other = np.concatenate(pairs, axis=1)
    count = channels + 1 + sum(sizes.values())
    _, groups = connected_components(coo_array((np.ones(len(one)), (one, other)), shape=(count, count)), directed=False)
    return {name: groups[firsts[name] : firsts[name] + size] for name, size in sizes.items()}
