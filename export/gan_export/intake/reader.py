"""The process that unpickles: torch.load with weights_only=True, under limits of memory and time.

    python -P -m gan_export.intake.reader SOURCE TARGET MEMORY_BYTES TENSOR_BYTES SECONDS

writes the tensors of the pickle, in the order in which they first appear, to TARGET in the safetensors format, named by
their numbers.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gan_export.untrusted.confined import limit

from .archive import MAGIC
from .safetensors_format import DTYPES

READY = "ready"
HEADER_BYTES = 64 * 1024 * 1024  # of the file of tensors, at most
_CODES = {getattr(torch, dtype): code for code, dtype in DTYPES.items()}


def read(source: Path) -> list[Tensor]:
    """Every tensor of a file once; a zip archive is mapped, not copied."""
    with source.open("rb") as file:
        archive = file.read(len(MAGIC)) == MAGIC
    scalar: Any = np.float64(0).__reduce__()[0]  # its module's name depends on numpy's version
    kinds = [type(np.dtype(code)) for code in ("f8", "f4", "f2", "i8", "i4", "i2", "u1", "?")]
    allowed: list[Any] = [argparse.Namespace, np.dtype, *kinds]
    allowed += [(scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")]
    with torch.serialization.safe_globals(allowed):
        content = torch.load(source, map_location="cpu", weights_only=True, mmap=archive)
    return list({id(tensor): tensor for tensor in _tensors(content)}.values())


def write(tensors: list[Tensor], target: Path) -> None:
    """Write the tensors one at a time, so that no more than one of them is copied."""
    header, end = {}, 0
    for i, tensor in enumerate(tensors):
        start, end = end, end + tensor.numel() * tensor.element_size()
        header[str(i)] = {"dtype": _CODES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with target.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for tensor in tensors:
            if tensor.numel():
                file.write(tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().data)


def _tensors(value: object) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        for item in dict.values(value):
            yield from _tensors(item)
    elif isinstance(value, argparse.Namespace):
        yield from _tensors(vars(value))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _tensors(item)


def main(source: str, target: str, *bounds: str) -> None:
    """Read and write; an exception ends the process, and its reader says what that means."""
    memory_bytes, tensor_bytes, seconds = map(int, bounds)
    limit(memory_bytes, tensor_bytes + HEADER_BYTES, seconds)
    print(READY, flush=True)
    write(read(Path(source)), Path(target))


if __name__ == "__main__":
    main(*sys.argv[1:])
