"""What an untrusted ONNX model may hold; found out without running or allocating anything."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from math import prod
from typing import Any, Final, NamedTuple

import numpy as np
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import (
    AttributeProto,
    FunctionProto,
    GraphProto,
    ModelProto,
    NodeProto,
    SparseTensorProto,
    TensorProto,
    defs,
    numpy_helper,
)

from gan_export.onnx_graph import graphs_in
from gan_export.refusal import IntakeError
from gan_export.untrusted.messages import HEAD_BYTES, kind_of, shown

FIRST_OPSET: Final = 7  # ONNX Runtime knows none before
MAX_NODES: Final = 50_000  # a large generator has some thousand
MAX_TENSORS: Final = 50_000
MAX_DIMENSIONS: Final = 8
MAX_DEPTH: Final = 8  # of graphs inside graphs
STANDARD: Final = ("", "ai.onnx")
LOOPS: Final = ("Loop", "Scan", "SequenceMap")


class _Kind(NamedTuple):
    item_bytes: int
    field: str  # where the values are if they are not raw bytes


_KINDS: Final[Mapping[int, _Kind]] = {
    TensorProto.FLOAT: _Kind(4, "float_data"),
    TensorProto.DOUBLE: _Kind(8, "double_data"),
    TensorProto.FLOAT16: _Kind(2, "int32_data"),
    TensorProto.BFLOAT16: _Kind(2, "int32_data"),
    TensorProto.INT8: _Kind(1, "int32_data"),
    TensorProto.INT16: _Kind(2, "int32_data"),
    TensorProto.INT32: _Kind(4, "int32_data"),
    TensorProto.INT64: _Kind(8, "int64_data"),
    TensorProto.UINT8: _Kind(1, "int32_data"),
    TensorProto.UINT16: _Kind(2, "int32_data"),
    TensorProto.UINT32: _Kind(4, "uint64_data"),
    TensorProto.UINT64: _Kind(8, "uint64_data"),
    TensorProto.BOOL: _Kind(1, "int32_data"),
}
_FLOATS: Final = (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16)
_BEGINNINGS: Final = (
    (
        re.compile(rb"PK[\x03\x05][\x04\x06]"),
        "a zip archive, not an ONNX model; unpack it first, or give a .pth file its own name",
    ),
    (re.compile(rb"\x80[\x02-\x05]"), "a pickle, not an ONNX model"),
    (re.compile(rb"\x89HDF\r\n\x1a\n"), "an HDF5 file (Keras .h5), not an ONNX model"),
    (
        re.compile(rb"....(ORTM|TFL3)", re.DOTALL),
        "a model of another format (.ort or .tflite); give the .onnx file that it was made from",
    ),
)


def parse(content: bytes) -> ModelProto:
    """Bytes -> model, not audited yet.

    Raises:
        IntakeError: they are something else.
    """
    if not content:
        raise IntakeError("is empty; copy or download it again")
    if what := kind_of(content[:HEAD_BYTES], _BEGINNINGS):
        raise IntakeError(f"is {what}")
    model = ModelProto()
    try:
        model.ParseFromString(content)
    except DecodeError as error:
        raise IntakeError("is not an ONNX model, or is cut off or damaged; copy or download it again") from error
    if not model.HasField("graph") or not model.opset_import:
        raise IntakeError("is not an ONNX model: it has no graph or no operator set; copy or download it again")
    return model


def audit(model: ModelProto) -> None:
    """Refuse what a generator has no need of and what could reach beyond the file or the memory.

    Raises:
        IntakeError: external data, operators that are not ONNX's own, loops, tensors of another size than they
            declare, NaN weights, too many nodes, names used twice or before they are made.
    """
    _check_messages(model)
    _check_opset(model)
    _check_functions(model)
    _check_scope(model.graph, frozenset(), 0)


def opset_of(model: ModelProto) -> int:
    """Version of ONNX's own operators; 0 if it has none."""
    return max((one.version for one in model.opset_import if one.domain in STANDARD), default=0)


def _messages(message: Any) -> Iterator[Any]:
    """A message and all inside it, but not inside tensors."""
    yield message
    if isinstance(message, TensorProto):
        return
    for field, value in message.ListFields():
        if field.message_type is not None:
            for child in value if field.is_repeated else (value,):
                yield from _messages(child)


def _check_messages(model: ModelProto) -> None:
    """Every node and tensor, wherever it hides."""
    nodes = tensors = 0
    own = {(function.domain, function.name) for function in model.functions}
    for message in _messages(model):
        if isinstance(message, NodeProto):
            nodes += 1
            _check_operator(message, own)
        elif isinstance(message, TensorProto):
            tensors += 1
            _check_tensor(message)
        elif isinstance(message, SparseTensorProto):
            raise IntakeError(f"has a sparse tensor {shown(message.values.name)}; export it with dense weights")
        if nodes > MAX_NODES or tensors > MAX_TENSORS:
            raise IntakeError(f"has more than {MAX_NODES:,} nodes or {MAX_TENSORS:,} tensors; simplify it first")


def _check_operator(node: NodeProto, own: set[tuple[str, str]]) -> None:
    name = shown(node.op_type)
    if node.domain not in STANDARD and (node.domain, node.op_type) not in own:
        raise IntakeError(
            f"uses the operator {name} of the domain {shown(node.domain)}, which is not part of ONNX itself; "
            "export it without optimisations or custom operators"
        )
    if node.op_type in LOOPS:
        raise IntakeError(f"has a {name}, whose running time can't be bounded; export it with its steps unrolled")


def _check_tensor(tensor: TensorProto) -> None:
    name = shown(tensor.name or "of a constant")
    if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data:
        places = [entry.value for entry in tensor.external_data if entry.key == "location"]
        where = f" ({shown(places[0])})" if places else ""
        raise IntakeError(
            f"keeps the tensor {name} in another file{where}, which is not opened; "
            "put everything in one file: onnx.save(onnx.load(FILE), NEW)"
        )
    kind = _KINDS.get(tensor.data_type)
    if kind is None:
        types = {number: word.lower() for word, number in TensorProto.DataType.items()}
        what = types.get(tensor.data_type, f"number {tensor.data_type}")
        raise IntakeError(f"has a tensor {name} of the type {what}, which no generator needs")
    if len(tensor.dims) > MAX_DIMENSIONS or any(size < 0 for size in tensor.dims):
        raise IntakeError(f"has a tensor {name} of the shape {shown(list(tensor.dims))}; it is damaged")
    filled = [field.name for field, _ in tensor.ListFields() if field.name.endswith("_data")]
    numel = prod(tensor.dims)
    raw = tensor.HasField("raw_data")
    found = len(tensor.raw_data) if raw else len(getattr(tensor, kind.field))
    if found != numel * (kind.item_bytes if raw else 1) or set(filled) - {"raw_data" if raw else kind.field}:
        unit = "bytes" if raw else "values"
        raise IntakeError(
            f"has a tensor {name} of the shape {shown(list(tensor.dims))}, but {found:,} {unit} for it; it is damaged"
        )
    if tensor.data_type in _FLOATS and numel:
        values: Any = numpy_helper.to_array(tensor)
        if np.isnan(values.astype(np.float32) if tensor.data_type == TensorProto.BFLOAT16 else values).any():
            raise IntakeError(f"has NaN in the tensor {name}; export an earlier checkpoint")


def _check_opset(model: ModelProto) -> None:
    version, newest = opset_of(model), defs.onnx_opset_version()
    if not FIRST_OPSET <= version <= newest:
        raise IntakeError(
            f"has opset {version}; opsets {FIRST_OPSET} to {newest} can be read: export it with one of these"
        )


def _check_functions(model: ModelProto) -> None:
    """Functions that call themselves, or more nodes than are allowed once all calls are replaced by bodies."""
    known: dict[tuple[str, str], FunctionProto] = {}
    for function in model.functions:
        key = (function.domain, function.name)
        if function.domain in STANDARD or key in known:
            raise IntakeError(f"redefines the operator {shown(function.name)}")
        known[key] = function
    sizes: dict[tuple[str, str], int] = {}

    def size_of(key: tuple[str, str], callers: tuple[tuple[str, str], ...]) -> int:
        if key in callers or len(callers) > MAX_DEPTH:
            raise IntakeError(f"has a function {shown(key[1])} that calls itself, or calls nested too deep")
        if key not in sizes:
            sizes[key] = size_in(known[key].node, (*callers, key))
        return sizes[key]

    def size_in(nodes: Any, callers: tuple[tuple[str, str], ...]) -> int:
        total = 0
        for node in nodes:
            key = (node.domain, node.op_type)
            total += 1 + (size_of(key, callers) if key in known else 0)
            total += sum(size_in(graph.node, callers) for graph in graphs_in(node))
        return total

    if size_in(model.graph.node, ()) > MAX_NODES:
        raise IntakeError(f"has functions that unfold to more than {MAX_NODES:,} nodes")


def _check_scope(graph: GraphProto, outer: frozenset[str], depth: int) -> None:
    """Every value is made once, and before it is used: no cycles."""
    if depth > MAX_DEPTH:
        raise IntakeError(f"has graphs nested deeper than {MAX_DEPTH}; export it without branches")
    made: set[str] = set()
    inputs = [value.name for value in graph.input]
    constants = [tensor.name for tensor in graph.initializer]
    if len(set(constants)) < len(constants):
        raise IntakeError("is damaged: two of its weights have the same name")
    for name in (*inputs, *(name for name in constants if name not in set(inputs))):
        _make(name, made)
    for node in graph.node:
        _check_attributes(node)
        for name in node.input:
            if name and name not in made and name not in outer:
                raise IntakeError(
                    f"is damaged: {shown(node.op_type)} uses {shown(name)} before it is computed, or in a cycle"
                )
        visible = frozenset(made) | outer if any(True for _ in graphs_in(node)) else frozenset()
        for inner in graphs_in(node):
            _check_scope(inner, visible, depth + 1)
        for name in filter(None, node.output):
            _make(name, made)
    for value in graph.output:
        if value.name not in made and value.name not in outer:
            raise IntakeError(f"is damaged: nothing computes its output {shown(value.name)}")


def _make(name: str, made: set[str]) -> None:
    if not name or name in made:
        raise IntakeError(f"is damaged: two values have the name {shown(name)!r}, or one has none")
    made.add(name)


def _check_attributes(node: NodeProto) -> None:
    names = [attribute.name for attribute in node.attribute]
    unknown = {attribute.type for attribute in node.attribute} - _ATTRIBUTE_TYPES
    if len(set(names)) < len(names) or unknown:
        raise IntakeError(f"is damaged: {shown(node.op_type)} has a duplicate attribute, or one of an invalid type")


_ATTRIBUTE_TYPES: Final = {
    AttributeProto.FLOAT,
    AttributeProto.INT,
    AttributeProto.STRING,
    AttributeProto.TENSOR,
    AttributeProto.GRAPH,
    AttributeProto.FLOATS,
    AttributeProto.INTS,
    AttributeProto.STRINGS,
    AttributeProto.TENSORS,
    AttributeProto.GRAPHS,
}
