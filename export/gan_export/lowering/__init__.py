"""Opset 18, which torch.onnx writes, to opset 17, which an artifact promises."""

from __future__ import annotations

from typing import Final

import onnx
from onnx import GraphProto, ModelProto, NodeProto, helper, inliner, numpy_helper

from gan_export.onnx_graph import graphs_in, names_in, names_used, nodes_in

from .operators import LOWERINGS
from .scope import FORWARD, OPSET, LoweringError, Scope, own_name

__all__ = ["FORWARD", "IR_VERSION", "OPSET", "SOURCE_OPSET", "LoweringError", "lower", "own_name"]

SOURCE_OPSET: Final = 18
IR_VERSION: Final = 8  # the one that came with opset 17


def lower(model: ModelProto) -> ModelProto:
    """Rewrite a model of opset 18 in opset 17, with the same results to the bit.

    Raises:
        LoweringError: an operator has no equivalent there.
        ValueError: another operator set than the standard one, or another version than 17 or 18.
    """
    model = inliner.inline_local_functions(model) if model.functions else model
    versions = {opset.domain or "": opset.version for opset in model.opset_import}
    for node in nodes_in(model.graph):
        if node.domain not in ("", "ai.onnx"):
            raise LoweringError(node, f"operators of the domain {node.domain!r} are not part of ONNX itself")
    if versions.get("") == OPSET:
        lowered = ModelProto()
        lowered.CopyFrom(model)
    elif versions.get("") == SOURCE_OPSET:
        # Ranks and lengths for what follows; the value_info that this adds stays in the result.
        lowered = onnx.shape_inference.infer_shapes(model, data_prop=True)
        _lower_graph(lowered.graph, Scope({}, {}, names=names_in(lowered.graph)))
    else:
        raise ValueError(f"opset {versions.get('')} can't be lowered, only opset {SOURCE_OPSET}")
    del lowered.opset_import[:]
    lowered.opset_import.append(helper.make_opsetid("", OPSET))
    lowered.ir_version = IR_VERSION
    return lowered


def _lower_graph(graph: GraphProto, outer: Scope) -> None:
    scope = Scope(dict(outer.constants), dict(outer.shapes), names=outer.names)
    for initializer in graph.initializer:
        scope.constants[initializer.name] = numpy_helper.to_array(initializer)
        scope.shapes[initializer.name] = list(initializer.dims)
    for value in (*graph.input, *graph.value_info, *graph.output):
        if value.type.tensor_type.HasField("shape"):
            dims = value.type.tensor_type.shape.dim
            scope.shapes[value.name] = [dim.dim_value if dim.HasField("dim_value") else None for dim in dims]
    lowered: list[NodeProto] = []
    for node in graph.node:
        for inner in graphs_in(node):
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
    used = {value.name for value in graph.output}.union(*map(names_used, graph.node))
    kept = [initializer for initializer in graph.initializer if initializer.name in used]
    if len(kept) < len(graph.initializer):
        del graph.initializer[:]
        graph.initializer.extend(kept)
