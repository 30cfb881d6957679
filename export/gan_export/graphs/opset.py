"""A graph of any operator set in opset 17, which an artifact promises."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from onnx import ModelProto, NodeProto, defs, helper, version_converter

from gan_export.lowering import IR_VERSION, OPSET, SOURCE_OPSET, LoweringError, lower
from gan_export.onnx_graph import graphs_in
from gan_export.refusal import IntakeError
from gan_export.untrusted.messages import shown

from .audit import opset_of

_MISSING: Final = re.compile(r"No Adapter (?:From|To) Version \$?(\d+) for (\w+)", re.IGNORECASE)
_HIDDEN: Final = "ganworks.as-it-is"
_CONVERSION_ERRORS: Final = (version_converter.ConvertError, RuntimeError, ValueError, IndexError)


def to_opset(model: ModelProto) -> ModelProto:
    """The same graph in opset 17.

    Raises:
        IntakeError: an operator that has no equivalent there, by its name.
    """
    version = opset_of(model)
    target = OPSET if version <= OPSET else SOURCE_OPSET
    changed = _changed(model, version, target)
    converted = _labelled(model, target) if not changed else _converted(model, version, target, changed)
    try:
        lowered = lower(converted)
    except LoweringError as error:
        raise IntakeError(f"can't be expressed in opset {OPSET}: {shown(error)}; export it with opset 17") from error
    lowered.ir_version = IR_VERSION
    return lowered


def _changed(model: ModelProto, version: int, target: int) -> set[str]:
    """Operators that compute something else in one of the versions, or are missing there."""
    return {node.op_type for node in _all_nodes(model) if not _is_alike(node.op_type, version, target)}


def _all_nodes(model: ModelProto) -> Iterator[NodeProto]:
    graphs = [model.graph]
    while graphs:
        for node in graphs.pop().node:
            graphs.extend(graphs_in(node))
            yield node


def _is_alike(operator: str, version: int, target: int) -> bool:
    """Whether it is defined alike in both versions, but for the types that it takes.

    A graph of a type that the target lacks is refused by ONNX Runtime when it is opened.
    """
    try:
        one, other = (defs.get_schema(operator, each, "") for each in (version, target))
    except defs.SchemaError:
        return False
    return one.since_version == other.since_version or bool(one.doc and _meaning(one) == _meaning(other))


def _meaning(schema: defs.OpSchema) -> tuple[object, ...]:
    attributes = {name: (each.type, each.required, str(each.default_value)) for name, each in schema.attributes.items()}
    ports = [[(each.name, each.option) for each in side] for side in (schema.inputs, schema.outputs)]
    return attributes, ports, (schema.doc or "").split()


def _labelled(model: ModelProto, version: int) -> ModelProto:
    same = ModelProto()
    same.CopyFrom(model)
    del same.opset_import[:]
    same.opset_import.append(helper.make_opsetid("", version))
    return same


def _converted(model: ModelProto, version: int, target: int, changed: set[str]) -> ModelProto:
    try:
        return _convert(model, target)
    except _CONVERSION_ERRORS:
        pass
    # Many operators that are alike have no conversion either: those stay as they are.
    try:
        return _convert_only(model, target, changed)
    except _CONVERSION_ERRORS as error:
        missing = _MISSING.search(str(error))
        names = missing[2] if missing else " or ".join(sorted(changed)[:4])
        raise IntakeError(
            f"can't be converted from opset {version} to {target}: ONNX has no conversion of {shown(names)}; "
            "export it with opset 17 (opset_version=17 in torch.onnx.export)"
        ) from error


def _convert(model: ModelProto, target: int) -> ModelProto:
    converted: ModelProto = version_converter.convert_version(model, target)
    return converted


def _convert_only(model: ModelProto, target: int, changed: set[str]) -> ModelProto:
    """Converted, but for the operators that are not named: these are put into a domain that ONNX doesn't know."""
    hidden = ModelProto()
    hidden.CopyFrom(model)
    hidden.opset_import.append(helper.make_opsetid(_HIDDEN, 1))
    for node in _all_nodes(hidden):
        if node.op_type not in changed:
            node.domain = _HIDDEN
    converted = _convert(hidden, target)
    for node in _all_nodes(converted):
        if node.domain == _HIDDEN:
            node.domain = ""
    return _labelled(converted, target)
