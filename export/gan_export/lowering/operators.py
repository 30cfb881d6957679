"""What becomes of each operator that opset 18 changed or brought: one table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, helper

from gan_export.onnx_graph import attributes_of, input_name

from .scope import OPSET, LoweringError, Scope

Lowering: TypeAlias = Callable[[NodeProto, Scope], Sequence[NodeProto]]


def _reduce(node: NodeProto, scope: Scope) -> list[NodeProto]:
    """Axes are an attribute before opset 18."""
    attributes = attributes_of(node)
    axes = scope.constant(node, 1)
    noop = attributes.pop("noop_with_empty_axes", 0)
    if axes is not None and axes.size:
        attributes["axes"] = [int(axis) for axis in axes]
    elif noop:
        return [_like(node, "Identity", node.input[:1], {})]
    return [_like(node, node.op_type, node.input[:1], attributes)]


def _pad(node: NodeProto, scope: Scope) -> list[NodeProto]:
    """Before opset 18 pads are given for every axis."""
    if not input_name(node, 3):
        return [node]
    rank = len(scope.shape(node))
    axes = [int(axis) % rank for axis in _known(node, scope, 3)]
    given = _known(node, scope, 1)
    pads = np.zeros(2 * rank, np.int64)
    for position, axis in enumerate(axes):
        pads[axis], pads[axis + rank] = given[position], given[position + len(axes)]
    inputs = [node.input[0], scope.add(node, "pads", pads), input_name(node, 2)]
    return [_like(node, "Pad", inputs, attributes_of(node))]


def _split(node: NodeProto, scope: Scope) -> list[NodeProto]:
    """Before opset 18 the sizes are given, or all parts are equal."""
    attributes = attributes_of(node)
    parts = attributes.pop("num_outputs", None)
    if parts is None:
        return [node]
    shape = scope.shape(node)
    length = shape[attributes.get("axis", 0)]
    if length is None:
        raise LoweringError(node, "it splits a dimension whose length is not fixed, such as the batch")
    size = -(-length // parts)
    sizes = np.array([min(size, length - size * i) for i in range(parts)], np.int64)
    return [_like(node, "Split", [node.input[0], scope.add(node, "split", sizes)], attributes)]


def _resize(node: NodeProto, scope: Scope) -> list[NodeProto]:
    """Before opset 18 scales or sizes are given for every axis, and there is no antialiasing."""
    attributes = attributes_of(node)
    if attributes.pop("antialias", 0):
        raise LoweringError(node, f"opset {OPSET} can't antialias; use antialias=False")
    sizes = input_name(node, 3)
    if attributes.pop("keep_aspect_ratio_policy", b"stretch") != b"stretch" and sizes:
        raise LoweringError(node, f"opset {OPSET} can't keep the aspect ratio")
    axes = attributes.pop("axes", None)
    if axes is None:
        return [_like(node, "Resize", node.input, attributes)]
    rank = len(scope.shape(node))
    axes = [axis % rank for axis in axes]
    data, roi, before = node.input[0], "", list[NodeProto]()
    if input_name(node, 1):
        full = np.concatenate([np.zeros(rank, np.float32), np.ones(rank, np.float32)])
        full[[*axes, *(axis + rank for axis in axes)]] = _known(node, scope, 1)
        roi = scope.add(node, "roi", full)
    if sizes:
        shape, full_sizes = scope.name(node, "shape"), scope.name(node, "sizes")
        index = scope.add(node, "axes", np.array(axes, np.int64))
        before = [
            helper.make_node("Shape", [data], [shape], name=shape),
            helper.make_node("ScatterElements", [shape, index, sizes], [full_sizes], name=full_sizes),
        ]
        return [*before, _like(node, "Resize", [data, roi, "", full_sizes], attributes)]
    scales = np.ones(rank, np.float32)
    scales[axes] = _known(node, scope, 2)
    return [_like(node, "Resize", [data, roi, scope.add(node, "scales", scales)], attributes)]


def _scatter(node: NodeProto, _: Scope) -> list[NodeProto]:
    reduction = attributes_of(node).get("reduction", b"none").decode()
    if reduction in ("max", "min"):
        raise LoweringError(node, f"opset {OPSET} can't scatter with the reduction {reduction!r}")
    return [node]


def _lp_pool(node: NodeProto, _: Scope) -> list[NodeProto]:
    attributes = attributes_of(node)
    if attributes.pop("ceil_mode", 0) or set(attributes.pop("dilations", [1])) != {1}:
        raise LoweringError(node, f"opset {OPSET} has no LpPool with dilations or ceil_mode")
    return [_like(node, "LpPool", node.input, attributes)]


def _mish(node: NodeProto, scope: Scope) -> list[NodeProto]:
    """x * tanh(softplus(x))"""
    soft, gate = scope.name(node, "softplus"), scope.name(node, "tanh")
    return [
        helper.make_node("Softplus", [node.input[0]], [soft], name=soft),
        helper.make_node("Tanh", [soft], [gate], name=gate),
        _like(node, "Mul", [node.input[0], gate], {}),
    ]


def _missing(node: NodeProto, _: Scope) -> list[NodeProto]:
    raise LoweringError(node, f"opset {OPSET} has no such operator; replace it with other operations")


_REDUCTIONS = ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "SumSquare")
_ABSENT = ("BitwiseAnd", "BitwiseNot", "BitwiseOr", "BitwiseXor", "CenterCropPad", "Col2Im", "GroupNormalization")
LOWERINGS: Final[Mapping[str, Lowering]] = {
    **{f"Reduce{kind}": _reduce for kind in _REDUCTIONS},  # ReduceSum has had axes as an input since opset 13
    **dict.fromkeys(_ABSENT, _missing),
    "LpPool": _lp_pool,
    "Mish": _mish,
    "Pad": _pad,
    "Resize": _resize,
    "ScatterElements": _scatter,
    "ScatterND": _scatter,
    "Split": _split,
}
"""What to do with each operator that opset 18 changed or brought; all others are the same in opset 17."""


def _known(node: NodeProto, scope: Scope, index: int) -> NDArray[Any]:
    value = scope.constant(node, index)
    if value is None:
        raise LoweringError(node, f"its input {index} is missing")
    return value


def _like(node: NodeProto, op_type: str, inputs: Sequence[str], attributes: Mapping[str, Any]) -> NodeProto:
    """A node that stands where `node` stood."""
    return helper.make_node(op_type, list(inputs), list(node.output), name=node.name, **attributes)
