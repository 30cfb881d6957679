"""A graph of any operator set in opset 17, which an artifact promises."""

from __future__ import annotations

import re
from typing import Final

from onnx import ModelProto, defs, helper, version_converter

from gan_export.lowering import IR_VERSION, OPSET, SOURCE_OPSET, LoweringError, lower
from gan_export.onnx_graph import graphs_in
from gan_export.refusal import IntakeError
from gan_export.untrusted import shown

from .audit import opset_of

_MISSING: Final = re.compile(r"No Adapter (?:From|To) Version \$?(\d+) for (\w+)", re.IGNORECASE)


def to_opset(model: ModelProto) -> ModelProto:
    """The same graph in opset 17.

    Raises:
        IntakeError: an operator that has no equivalent there, by its name.
    """
    version = opset_of(model)
    target = OPSET if version <= OPSET else SOURCE_OPSET
    changed = sorted(_changed(model, version, target))
    converted = _labelled(model, target) if not changed else _converted(model, version, target, changed)
    try:
        lowered = lower(converted)
    except LoweringError as error:
        raise IntakeError(f"can't be expressed in opset {OPSET}: {shown(error)}; export it with opset 17") from error
    lowered.ir_version = IR_VERSION
    return lowered


def _changed(model: ModelProto, version: int, target: int) -> set[str]:
    """Operators that are not defined alike in both versions."""
    found: set[str] = set()
    graphs = [model.graph]
    while graphs:
        for node in graphs.pop().node:
            graphs.extend(graphs_in(node))
            if _since(node.op_type, version) != _since(node.op_type, target):
                found.add(node.op_type)
    return found


def _since(operator: str, version: int) -> int:
    try:
        return int(defs.get_schema(operator, version, "").since_version)
    except defs.SchemaError:
        return 0


def _labelled(model: ModelProto, version: int) -> ModelProto:
    same = ModelProto()
    same.CopyFrom(model)
    del same.opset_import[:]
    same.opset_import.append(helper.make_opsetid("", version))
    return same


def _converted(model: ModelProto, version: int, target: int, changed: list[str]) -> ModelProto:
    try:
        converted: ModelProto = version_converter.convert_version(model, target)
    except (version_converter.ConvertError, RuntimeError, ValueError, IndexError) as error:
        missing = _MISSING.search(str(error))
        names = missing[2] if missing else " or ".join(changed[:4])
        raise IntakeError(
            f"can't be converted from opset {version} to {target}: ONNX has no conversion of {shown(names)}; "
            "export it with opset 17"
        ) from error
    return converted
