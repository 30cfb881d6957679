"""Directions in latent space along which a generator changes its image most, from its first layer.

Shen & Zhou, 2021, "Closed-form factorization of latent semantics in GANs" (arXiv:2007.06600): where the first layer
computes A z + b, the unit vectors n with the largest |A n| are the eigenvectors of A^T A with the largest eigenvalues.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from gan_export.artifact import LATENT_INPUT
from gan_export.artifact.manifest import MAX_DIRECTIONS
from gan_export.onnx_graph import float_shapes

LONGEST: Final = 2048  # side of a matrix whose eigenvectors are found: 2 seconds of a core; 8 times that for twice it
DECIMALS: Final = 6  # of a stored component: what is left of a norm's error is far below what a picture shows
_NEGLIGIBLE: Final = 1e-9  # eigenvalue, relative to the largest: the layer doesn't see that direction
_KEEPING: Final = frozenset(
    {
        "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Cast", "Dropout",
        "Mul", "Div", "Add", "Sub",
        "BatchNormalization", "InstanceNormalization", "LayerNormalization", "LpNormalization",
    }
)  # fmt: skip
"""What may stand before the first layer: the latent goes in first and comes out number by number."""

_Array = NDArray[np.float64]
_Constants = dict[str, NDArray[np.generic]]


@dataclass(frozen=True)
class _Carried:
    """Where the latent stands in a tensor: behind so many other features."""

    offset: int


def principal_directions(model: onnx.ModelProto, latent_dim: int) -> list[list[float]] | None:
    """Up to 8 unit vectors of `latent_dim` numbers, the most effective first.

    None if there is no such first layer, or if both its latent and its output are longer than `LONGEST`.

    Args:
        model: has the input `z`, float32 (N, latent_dim).
        latent_dim: length of a latent.
    """
    weight = first_weight(model, latent_dim)
    if weight is None or not np.isfinite(weight).all():
        return None
    if min(weight.shape) > LONGEST:
        return None
    if latent_dim <= LONGEST:
        values, vectors = np.linalg.eigh(weight.T @ weight)  # ascending
        seen = values > _NEGLIGIBLE * values[-1]
        kept = vectors[:, seen][:, ::-1][:, :MAX_DIRECTIONS].T  # (k, latent_dim)
    else:
        # Of A A^T, which is smaller and has the same eigenvalues: if u is its eigenvector, A^T u is that of A^T A.
        values, vectors = np.linalg.eigh(weight @ weight.T)
        seen = values > _NEGLIGIBLE * values[-1]
        kept = vectors[:, seen][:, ::-1][:, :MAX_DIRECTIONS].T @ weight
        kept /= np.linalg.norm(kept, axis=1, keepdims=True)
    # An eigenvector has no sign of its own: the largest component decides, so that every export says the same.
    signs = np.sign(np.take_along_axis(kept, np.abs(kept).argmax(1)[:, None], 1))
    rows: list[list[float]] = (np.round(kept * signs, DECIMALS) + 0.0).tolist()
    return rows or None


def first_weight(model: onnx.ModelProto, latent_dim: int) -> _Array | None:
    """(m, latent_dim): what multiplies the latent in the first Gemm, MatMul, Conv or ConvTranspose that it reaches.

    On the way there it may be reshaped, joined with other features, scaled, shifted or normalised, but not mixed.
    """
    constants = _constants(model)
    shapes = dict(float_shapes(model))
    carried = {LATENT_INPUT: _Carried(0)}
    for node in model.graph.node:
        from_latent = [name for name in node.input if name in carried]
        if not from_latent:
            continue
        place = carried[from_latent[0]]
        if node.op_type in ("Gemm", "MatMul", "Conv", "ConvTranspose"):
            if node.input[0] != from_latent[0] or node.input[1] not in constants:
                return None
            weight = _as_matrix(node, constants[node.input[1]].astype(np.float64))
            return None if weight is None else weight[:, place.offset : place.offset + latent_dim]
        found = _after(node, from_latent, place, shapes, latent_dim)
        if found is not None:
            carried[node.output[0]] = found
    return None


def _after(
    node: onnx.NodeProto,
    from_latent: list[str],
    place: _Carried,
    shapes: Mapping[str, tuple[int, ...]],
    latent_dim: int,
) -> _Carried | None:
    """Where the latent stands in a node's output; None if it is not there as it was."""
    if len(from_latent) > 1:
        return None  # multiplied by itself, or given twice
    if node.op_type == "Concat":
        return _joined(node, from_latent[0], place, shapes)
    first = from_latent[0] == node.input[0]
    if not (node.op_type in _KEEPING if first else node.op_type in ("Mul", "Add")):
        return None
    before, after = _features(shapes.get(from_latent[0], ())), _features(shapes.get(node.output[0], ()))
    return place if before == after >= latent_dim else None


def _joined(
    node: onnx.NodeProto, latent: str, place: _Carried, shapes: Mapping[str, tuple[int, ...]]
) -> _Carried | None:
    axis = int(helper.get_attribute_value(node.attribute[0]))
    offset = place.offset
    for name in node.input:
        shape = shapes.get(name, ())
        if len(shape) < 2 or axis % len(shape) != 1:
            return None
        if name == latent:
            return _Carried(offset)
        if not shape[1]:
            return None
        offset += shape[1]
    return None


def _features(shape: tuple[int, ...]) -> int:
    """Numbers of one image, where they all lie along one axis; 0 otherwise, and where that isn't known."""
    counts = [count for count in shape[1:] if count != 1]
    return counts[0] if len(counts) == 1 else 0


def _as_matrix(node: onnx.NodeProto, weight: _Array) -> _Array | None:
    """(m, features) that multiplies a vector of features; None if the layer is none of one vector."""
    given = {each.name: helper.get_attribute_value(each) for each in node.attribute}
    if node.op_type == "MatMul":
        return weight.T if weight.ndim == 2 else None
    if node.op_type == "Gemm":
        if given.get("transA"):
            return None
        return weight if given.get("transB") else weight.T
    if given.get("group", 1) != 1 or any(step != 1 for step in given.get("dilations", ())):
        return None
    axes = weight.ndim - 2
    pads = given.get("pads", [0] * 2 * axes)
    steps = given.get("strides", [1] * axes)
    if given.get("auto_pad", b"NOTSET") != b"NOTSET" or "output_shape" in given:
        return None
    # Of one pixel, a Conv's output uses those taps that meet it, a ConvTranspose's those that padding doesn't cut off.
    for axis in range(axes):
        begin, end, size = pads[axis], pads[axis + axes], weight.shape[axis + 2]
        if node.op_type == "Conv":
            positions = (1 + begin + end - size) // steps[axis] + 1
            taps = [begin - steps[axis] * at for at in range(positions) if 0 <= begin - steps[axis] * at < size]
        else:
            taps = list(range(begin, size - end))
        weight = np.take(weight, taps, axis + 2)
    inputs = 1 if node.op_type == "Conv" else 0
    return np.moveaxis(weight, inputs, -1).reshape(-1, weight.shape[inputs])


def _constants(model: onnx.ModelProto) -> _Constants:
    """Weights by name, as they are or transposed."""
    found: _Constants = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
    for name, value in _computed(model, found):
        found[name] = value
    return found


def _computed(model: onnx.ModelProto, found: _Constants) -> Iterator[tuple[str, NDArray[np.generic]]]:
    for node in model.graph.node:
        given = {each.name: helper.get_attribute_value(each) for each in node.attribute}
        if node.op_type == "Constant" and "value" in given:
            yield node.output[0], numpy_helper.to_array(given["value"])
        elif node.op_type in ("Transpose", "Identity") and node.input[0] in found:
            value = found[node.input[0]]
            yield node.output[0], np.transpose(value, given.get("perm")) if node.op_type == "Transpose" else value
