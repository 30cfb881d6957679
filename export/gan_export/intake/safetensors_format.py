"""The safetensors format: a length, a header in JSON, and the tensors' bytes."""

from __future__ import annotations

import json
import os
from math import prod
from typing import Any, BinaryIO, Final

from gan_export.refusal import IntakeError
from gan_export.untrusted.messages import shown

from .limits import Limits
from .symbols import ITEM_BYTES, MAX_DIMENSIONS, MalformedError, TensorRef, is_count, size_text
from .tree import Tree, read_tree

DTYPES: Final = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U8": "uint8",
    "BOOL": "bool",
}
METADATA: Final = "__metadata__"


def audit_safetensors(file: BinaryIO, limits: Limits) -> Tree:
    """What a safetensors file holds.

    Raises:
        IntakeError: the reason why it is not read.
    """
    size = os.fstat(file.fileno()).st_size
    file.seek(0)
    length = int.from_bytes(file.read(8), "little")
    if length > limits.max_header_bytes:
        raise IntakeError(f"its header is longer than {size_text(limits.max_header_bytes)}")
    try:
        header = json.loads(file.read(length), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise MalformedError("its header is cut off or damaged") from error
    if type(header) is not dict:
        raise MalformedError("its header is damaged: it is not an object")
    header.pop(METADATA, None)
    spans = []
    content: dict[str, TensorRef] = {}
    for name, entry in header.items():
        content[name], span = _entry(name, entry)
        spans.append(span)
    end = 0
    for first, last in sorted(spans):
        if first != end:
            raise MalformedError("its tensors overlap or leave gaps between them")
        end = last
    if 8 + length + end != size:
        raise MalformedError(f"its header declares {size_text(8 + length + end)} and the file has {size_text(size)}")
    return read_tree(content, [], size, limits)


def _entry(name: str, entry: Any) -> tuple[TensorRef, tuple[int, int]]:
    """A tensor, and where its bytes begin and end."""
    match entry:
        case {"dtype": str(code), "shape": list(shape), "data_offsets": [int(first), int(last)]} if len(entry) == 3:
            if code not in DTYPES:
                raise IntakeError(f"{shown(name)}: is of type {shown(code)}, which can't be exported; convert it")
            if len(shape) > MAX_DIMENSIONS or not all(map(is_count, (*shape, first, last))):
                raise MalformedError(f"{shown(name)}: its size is negative or beyond any file")
            dtype = DTYPES[code]
            if last - first != prod(shape) * ITEM_BYTES[dtype]:
                raise MalformedError(f"{shown(name)}: its size does not agree with its place in the file")
            return TensorRef(dtype, tuple(shape)), (first, last)
        case _:
            raise MalformedError(f"{shown(name)}: its entry in the header is damaged")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a key appears twice")
    return made
