"""Opset 18, which torch.onnx writes, to opset 17, which an artifact promises: one table of operators."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, helper, inliner, numpy_helper

SOURCE_OPSET: Final = 18
OPSET: Final = 17
IR_VERSION: Final = 8  # the one that came with opset 17
UNKNOWN = "the graph"


class LoweringError(RuntimeError):
    """An operator that opset 17 can't express; the message is one line."""

    def __init__(self, node: NodeProto, why: str) -> None:
        self.operator = node.op_type
        self.origin = origin_of(node)
        super().__init__(f"{node.op_type} in {self.origin}: {why}")


@dataclass
class _Scope:
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
        name = _input(node, index)
        if not name:
            return None
        if name not in self.constants:
            raise LoweringError(
                node, f"its input {index} is computed while the graph runs, opset {OPSET} wants a constant"
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
        base = name = f"{node.output[0]}_{suffix}"
        count = 1
        while name in self.names:
            count += 1
            name = f"{base}{count}"
        self.names.add(name)
        return name


Lowering: TypeAlias = Callable[[NodeProto, _Scope], Sequence[NodeProto]]


def lower(model: ModelProto) -> ModelProto:
    """Rewrite a model of opset 18 in opset 17, with the same results to the bit.

    Raises:
        LoweringError: an operator has no equivalent there.
        ValueError: another operator set than the standard one, or another version than 17 or 18.
    """
    model = inliner.inline_local_functions(model) if model.functions else model
    versions = {opset.domain or "": opset.version for opset in model.opset_import}
    for node in _all_nodes(model.graph):
        if node.domain not in ("", "ai.onnx"):
            raise LoweringError(node, f"operators of the domain {node.domain!r} are not part of ONNX itself")
    if versions.get("") == OPSET:
        lowered = ModelProto()
        lowered.CopyFrom(model)
    elif versions.get("") == SOURCE_OPSET:
        # Ranks and lengths for what follows; the value_info that this adds stays in the result.
        lowered = onnx.shape_inference.infer_shapes(model, data_prop=True)
        _lower_graph(lowered.graph, _Scope({}, {}, names=_all_names(lowered.graph)))
    else:
        raise ValueError(f"opset {versions.get('')} can't be lowered, only opset {SOURCE_OPSET}")
    del lowered.opset_import[:]
    lowered.opset_import.append(helper.make_opsetid("", OPSET))
    lowered.ir_version = IR_VERSION
    return lowered


def origin_of(node: NodeProto) -> str:
    """The submodule that a node came from, as the exporter noted it, e.g. `main.3`; else the node's name."""
    notes = {prop.key: prop.value for prop in node.metadata_props}
    scopes = notes.get("pkg.torch.onnx.name_scopes", "")
    parts = [part.strip(" '\"") for part in scopes.strip("[]").split(",")]
    # The last scope is the operation itself; the one before is the submodule.
    path = next((part for part in reversed(parts[:-1]) if part), "")
    return own_name(path) or node.name or UNKNOWN


def own_name(path: str) -> str:
    """A submodule's path as its author knows it, without the wrappers of this package around the generator."""
    return re.sub(r"^(generator(\.|$))+", "", path)


def _lower_graph(graph: GraphProto, outer: _Scope) -> None:
    scope = _Scope(dict(outer.constants), dict(outer.shapes), names=outer.names)
    for initializer in graph.initializer:
        scope.constants[initializer.name] = numpy_helper.to_array(initializer)
        scope.shapes[initializer.name] = list(initializer.dims)
    for value in (*graph.input, *graph.value_info, *graph.output):
        if value.type.tensor_type.HasField("shape"):
            dims = value.type.tensor_type.shape.dim
            scope.shapes[value.name] = [dim.dim_value if dim.HasField("dim_value") else None for dim in dims]
    lowered: list[NodeProto] = []
    for node in graph.node:
        for attribute in node.attribute:
            for inner in _graphs(attribute):
                _lower_graph(inner, scope)
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            scope.constants[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
        lowering = LOWERINGS.get(node.op_type)
        made = [node] if lowering is None else lowering(node, scope)
        for new in made:
            if not new.metadata_props:
                new.metadata_props.extend(node.metadata_props)
        lowered += made
    del graph.node[:]
    graph.node.extend(lowered)
    graph.initializer.extend(scope.added)
    _drop_unused(graph)


def _drop_unused(graph: GraphProto) -> None:
    """Initializers that nothing refers to any more, such as axes that became attributes."""
    used = {name for node in _all_nodes(graph) for name in node.input} | {value.name for value in graph.output}
    kept = [initializer for initializer in graph.initializer if initializer.name in used]
    if len(kept) < len(graph.initializer):
        del graph.initializer[:]
        graph.initializer.extend(kept)


def _reduce(node: NodeProto, scope: _Scope) -> list[NodeProto]:
    """Axes are an attribute before opset 18."""
    attributes = _attributes(node)
    axes = scope.constant(node, 1)
    noop = attributes.pop("noop_with_empty_axes", 0)
    if axes is not None and axes.size:
        attributes["axes"] = [int(axis) for axis in axes]
    elif noop:
        return [_like(node, "Identity", node.input[:1], {})]
    return [_like(node, node.op_type, node.input[:1], attributes)]


def _pad(node: NodeProto, scope: _Scope) -> list[NodeProto]:
    """Before opset 18 pads are given for every axis."""
    if not _input(node, 3):
        return [node]
    rank = len(scope.shape(node))
    axes = [int(axis) % rank for axis in _known(node, scope, 3)]
    given = _known(node, scope, 1)
    pads = np.zeros(2 * rank, np.int64)
    for position, axis in enumerate(axes):
        pads[axis], pads[axis + rank] = given[position], given[position + len(axes)]
    inputs = [node.input[0], scope.add(node, "pads", pads), _input(node, 2)]
    return [_like(node, "Pad", inputs, _attributes(node))]


def _split(node: NodeProto, scope: _Scope) -> list[NodeProto]:
    """Before opset 18 the sizes are given, or all parts are equal."""
    attributes = _attributes(node)
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


def _resize(node: NodeProto, scope: _Scope) -> list[NodeProto]:
    """Before opset 18 scales or sizes are given for every axis, and there is no antialiasing."""
    attributes = _attributes(node)
    if attributes.pop("antialias", 0):
        raise LoweringError(node, f"opset {OPSET} can't antialias; use antialias=False")
    sizes = _input(node, 3)
    if attributes.pop("keep_aspect_ratio_policy", b"stretch") != b"stretch" and sizes:
        raise LoweringError(node, f"opset {OPSET} can't keep the aspect ratio")
    axes = attributes.pop("axes", None)
    if axes is None:
        return [_like(node, "Resize", node.input, attributes)]
    rank = len(scope.shape(node))
    axes = [axis % rank for axis in axes]
    data, roi, before = node.input[0], "", list[NodeProto]()
    if _input(node, 1):
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


def _scatter(node: NodeProto, _: _Scope) -> list[NodeProto]:
    reduction = _attributes(node).get("reduction", b"none").decode()
    if reduction in ("max", "min"):
        raise LoweringError(node, f"opset {OPSET} can't scatter with the reduction {reduction!r}")
    return [node]


def _lp_pool(node: NodeProto, _: _Scope) -> list[NodeProto]:
    attributes = _attributes(node)
    if attributes.pop("ceil_mode", 0) or set(attributes.pop("dilations", [1])) != {1}:
        raise LoweringError(node, f"opset {OPSET} has no LpPool with dilations or ceil_mode")
    return [_like(node, "LpPool", node.input, attributes)]


def _mish(node: NodeProto, scope: _Scope) -> list[NodeProto]:
    """x * tanh(softplus(x))"""
    soft, gate = scope.name(node, "softplus"), scope.name(node, "tanh")
    return [
        helper.make_node("Softplus", [node.input[0]], [soft], name=soft),
        helper.make_node("Tanh", [soft], [gate], name=gate),
        _like(node, "Mul", [node.input[0], gate], {}),
    ]


def _missing(node: NodeProto, _: _Scope) -> list[NodeProto]:
    raise LoweringError(node, f"opset {OPSET} has no such operator")


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


def _known(node: NodeProto, scope: _Scope, index: int) -> NDArray[Any]:
    value = scope.constant(node, index)
    if value is None:
        raise LoweringError(node, f"its input {index} is missing")
    return value


def _input(node: NodeProto, index: int) -> str:
    return node.input[index] if index < len(node.input) else ""


def _attributes(node: NodeProto) -> dict[str, Any]:
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def _like(node: NodeProto, op_type: str, inputs: Sequence[str], attributes: Mapping[str, Any]) -> NodeProto:
    """A node that stands where `node` stood."""
    return helper.make_node(op_type, list(inputs), list(node.output), name=node.name, **attributes)


def _graphs(attribute: AttributeProto) -> list[GraphProto]:
    return [*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs]


def _all_nodes(graph: GraphProto) -> list[NodeProto]:
    """Nodes of a graph and of the graphs inside it."""
    found: list[NodeProto] = []
    for node in graph.node:
        found.append(node)
        for attribute in node.attribute:
            for inner in _graphs(attribute):
                found += _all_nodes(inner)
    return found


def _all_names(graph: GraphProto) -> set[str]:
    nodes = _all_nodes(graph)
    values = {name for node in nodes for name in (*node.input, *node.output)}
    return values | {value.name for value in (*graph.input, *graph.output, *graph.initializer)}
