"""`idx:DIR`: the IDX files of MNIST and its relatives, gzip or not.

`idx:DIR` (or `idx:DIR#train`) reads the pair `train-images-idx3-ubyte` and `train-labels-idx1-ubyte`,
`idx:DIR#test` the pair that begins with `t10k`. Names may have a dot (`train-images.idx3-ubyte`) and may end
in `.gz`; where several stand side by side the first in the order of `_SPELLINGS` is read. Without a labels
file the images are unlabelled. `idx4` holds (N, H, W, C) with C 1 or 3.

Format: two zero bytes, a type code, the number of dimensions, each dimension as a big-endian uint32, then the
values, last dimension fastest (Y. LeCun, C. Cortes, C. Burges: "The MNIST database of handwritten digits").
"""

from __future__ import annotations

import gzip
import os
import struct
import zlib
from io import BufferedIOBase
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gan_training.errors import first_line

from .image_data import DataError
from .paths import directory, regular_file
from .source import RawImages, Request, check_bytes

_SPELLINGS = ("-{kind}-idx{dims}-ubyte", "-{kind}.idx{dims}-ubyte")
SPLITS = {"train": "train", "test": "t10k"}
"""Split -> how its files' names begin."""
_UBYTE = 0x08
_TYPES = {0x09: "int8", 0x0B: "int16", 0x0C: "int32", 0x0D: "float32", 0x0E: "float64"}
_GZIP_MAGIC = b"\x1f\x8b"
_DEFLATE_MAX_RATIO = 1032  # no DEFLATE stream expands further (zlib's technical notes)
_CHUNK = 2**20


def load(request: Request) -> RawImages:
    """The images and, where there are any, the labels of one split; `DataError` for any malformed file."""
    argument, split = request.argument, "train"
    for name in SPLITS:
        if argument.endswith(f"#{name}"):
            argument, split = argument.removesuffix(f"#{name}"), name
            break
    folder = directory(argument)
    prefix = SPLITS[split]
    images_path = _find(folder, prefix, "images", (3, 4))
    if images_path is None:
        raise DataError(
            f"{folder} has no {prefix}-images-idx3-ubyte (.gz or not), the {split} images; "
            "write idx:DIR for the training pair and idx:DIR#test for the test pair"
        )
    pixels = _read(images_path, (3, 4))
    if pixels.ndim == 3:
        pixels = pixels[..., None]  # (N, H, W) -> (N, H, W, 1)
    if pixels.shape[3] not in (1, 3):
        raise DataError(f"{images_path}: {pixels.shape[3]} channels; images have 1 (grey) or 3 (RGB)")
    labels_path = _find(folder, prefix, "labels", (1,))
    if labels_path is None:
        return RawImages(pixels, labels=None, class_names=None)
    labels = _read(labels_path, (1,))
    if len(labels) != len(pixels):
        raise DataError(
            f"{labels_path} has {len(labels)} labels and {images_path.name} has {len(pixels)} images; "
            "they must be a pair"
        )
    return RawImages(pixels, labels, class_names=None)


def is_complete(folder: Path, split: str) -> bool:
    """Whether images and labels of `split`, one of `SPLITS`, lie in `folder`, in any spelling."""
    prefix = SPLITS[split]
    return _find(folder, prefix, "images", (3, 4)) is not None and _find(folder, prefix, "labels", (1,)) is not None


def _find(folder: Path, prefix: str, kind: str, dims: tuple[int, ...]) -> Path | None:
    for count in dims:
        for spelling in _SPELLINGS:
            name = prefix + spelling.format(kind=kind, dims=count)
            for suffix in ("", ".gz"):
                path = folder / (name + suffix)
                if path.exists():
                    return regular_file(path)
    return None


def _read(path: Path, dims: tuple[int, ...]) -> NDArray[np.uint8]:
    """The array of one IDX file of unsigned bytes with one of the `dims` numbers of dimensions."""
    try:
        with path.open("rb") as raw:
            size = os.fstat(raw.fileno()).st_size
            packed = raw.read(2) == _GZIP_MAGIC
            raw.seek(0)
            if not packed:
                return _parse(raw, path, dims, size)
            with gzip.open(raw) as unpacked:
                return _parse(unpacked, path, dims, size * _DEFLATE_MAX_RATIO)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: can't be read ({first_line(error)}); fetch the file again") from error


def _parse(stream: BufferedIOBase, path: Path, dims: tuple[int, ...], most: int) -> NDArray[np.uint8]:
    """`most`: bytes that the stream can hold at all; no more than that is ever allocated."""
    magic = stream.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0":
        raise DataError(f"{path}: no IDX file: it begins with {magic.hex() or 'nothing'}, not with 0000")
    if magic[2] != _UBYTE:
        found = _TYPES.get(magic[2], "unknown")
        raise DataError(f"{path}: values of type 0x{magic[2]:02x} ({found}); only 0x08 (unsigned byte) is read")
    if magic[3] not in dims:
        wanted = " or ".join(map(str, dims))
        raise DataError(f"{path}: {magic[3]} dimensions; {wanted} are needed here (was another file renamed?)")
    header = stream.read(4 * magic[3])
    if len(header) < 4 * magic[3]:
        raise DataError(f"{path}: the file ends inside its header; fetch it again")
    shape = struct.unpack(f">{magic[3]}I", header)
    declared = check_bytes(str(path), shape)
    sizes = f"the header declares {declared} bytes of values ({' x '.join(map(str, shape))})"
    if declared > most:
        raise DataError(f"{path}: truncated: {sizes}, more than the file can hold; fetch it again")
    values = np.empty(declared, np.uint8)
    filled = 0
    while filled < declared:
        chunk = stream.read(min(_CHUNK, declared - filled))
        if not chunk:
            raise DataError(f"{path}: truncated: {sizes} and {filled} are there; fetch it again")
        values[filled : filled + len(chunk)] = np.frombuffer(chunk, np.uint8)
        filled += len(chunk)
    if stream.read(1):  # reaching the end is also what makes gzip verify its checksum
        raise DataError(f"{path}: too long: {sizes} and more follow; fetch it again")
    return values.reshape(shape)
