"""What a pickle stands for, found out without running it."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod
from typing import Any, Final

from gan_export.refusal import IntakeError

MAX_INTEGER: Final = 2**48  # of sizes, strides and offsets: far beyond any file, far below where torch's sums overflow
MAX_DIMENSIONS: Final = 16
MAX_KEY: Final = 64  # characters of a storage's key

ITEM_BYTES: Final = {
    "float64": 8,
    "float32": 4,
    "float16": 2,
    "bfloat16": 2,
    "int64": 8,
    "int32": 4,
    "int16": 2,
    "int8": 1,
    "uint8": 1,
    "bool": 1,
}


class Unknown:
    """What came of a global that is not allowed; the file is refused in the end, for the global's name."""


@dataclass(frozen=True)
class Global:
    """A class or function that the pickle names."""

    name: str  # module.name


@dataclass(frozen=True)
class Constant:
    """A value that says something of a tensor and is not part of the tree, such as a layout."""

    name: str


@dataclass(frozen=True)
class Unusable:
    """A tensor that can't be exported, and why; the tree knows the key under which it stands."""

    reason: str


@dataclass(frozen=True)
class NumpyType:
    """A numpy scalar's type, by its code such as `f8`."""

    code: str


class Settings(dict[str, Any]):
    """An argparse.Namespace."""


@dataclass(eq=False)
class Storage:
    """A run of elements in the file."""

    key: str
    dtype: str
    numel: int
    views: dict[str, Storage] = field(default_factory=dict)  # of legacy files

    @property
    def nbytes(self) -> int:
        """Size in the file; 0 of a type that can't be exported, as nothing is read of it."""
        return self.numel * ITEM_BYTES.get(self.dtype, 0)


@dataclass(eq=False)
class TensorRef:
    """A tensor that the file declares, its storage checked; two references to one are one object."""

    dtype: str
    size: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Size once it is contiguous."""
        return prod(self.size) * ITEM_BYTES[self.dtype]


def is_count(value: object) -> bool:
    """Whether the value is an integer that can be a size, a stride or an offset."""
    return type(value) is int and 0 <= value < MAX_INTEGER


def size_text(nbytes: int) -> str:
    """A number of bytes for a message."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if nbytes < 1024 or unit == "GiB":
            break
        nbytes //= 1024
    return f"{nbytes:,} {unit}"


class MalformedError(IntakeError):
    """Bytes that no torch.save writes."""
