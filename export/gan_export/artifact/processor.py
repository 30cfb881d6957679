"""What this host's processor has and can do, as far as a choice depends on it."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import Final

_CPUINFO: Final = Path("/proc/cpuinfo")
_BYTE_PRODUCTS: Final = frozenset({"avx512_vnni", "avx_vnni", "asimddp"})
"""Linux's names of the instructions that add up products of bytes in 32 bits: VNNI of x86, the dot products of ARM."""


def usable_cores() -> int:
    """Cores that this process may run on; all there are where the system does not tell."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@lru_cache
def features() -> frozenset[str]:
    """The processor's features as Linux names them; none where the system does not tell."""
    try:
        lines = _CPUINFO.read_text(errors="replace").splitlines()
    except OSError:
        return frozenset()
    pairs = (line.partition(":") for line in lines)
    return frozenset(next((value.split() for name, _, value in pairs if name.strip() in ("flags", "Features")), []))


def adds_byte_products() -> bool | None:
    """Whether the processor has instructions that make int8 faster than float32; None where it does not tell.

    Without such instructions ONNX Runtime computes int8 about as fast as float32, or slower (docs/graphs.md).
    """
    known = features()
    return bool(known & _BYTE_PRODUCTS) if known else None
