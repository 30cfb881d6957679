"""How much an untrusted file may ask for."""

from __future__ import annotations

from dataclasses import dataclass

from gan_export.untrusted.confined import MIB


@dataclass(frozen=True)
class Limits:
    """Bounds of a file and of the process that reads it.

    A file can't make more of itself than `max_growth` allows, so what a small one may cost is known before it is read.
    The reading process keeps `memory_bytes` beside the libraries (about 220 MiB) and the file, which is mapped and not
    copied: under 1 GB in all.
    """

    max_file_bytes: int = 2048 * MIB
    max_pickle_bytes: int = 16 * MIB
    max_header_bytes: int = 4 * MIB  # of a safetensors file; a tensor takes about 100
    max_opcodes: int = 1_000_000  # of a pickle; a tensor takes about 30
    max_values: int = 1_000_000  # that the tree holds when what is referred to twice counts twice
    max_depth: int = 40  # of dicts and lists inside each other
    max_members: int = 16_384  # of a zip archive; torch writes one for each storage
    max_tensor_bytes: int = 2048 * MIB  # of all tensors together
    max_growth: int = 4  # bytes of tensors for each byte of the file: tied weights are stored once and read twice
    memory_bytes: int = 640 * MIB
    seconds: int = 180  # the libraries are loaded in it too, which takes a minute where the disk is busy
