"""`npz:FILE`: arrays saved by `np.savez` or `np.savez_compressed`.

`images`: uint8, or floats in [0, 1]; (N, H, W), (N, H, W, C) or (N, C, H, W) with C 1 or 3.
`labels` (optional): integers (N,). `class_names` (optional): text (K,), needs `labels`.
Nothing is unpickled, whatever the file holds.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import TypeGuard

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from gan_training.errors import first_line

from .image_data import DataError
from .paths import regular_file
from .pixels import from_unit_floats
from .source import RawImages, Request, check_bytes

_HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


def load(request: Request) -> RawImages:
    """The arrays of one file; `DataError` for a damaged file or for arrays of another kind than above."""
    path = regular_file(request.argument)
    try:
        with zipfile.ZipFile(path) as archive:
            arrays = {key: _read(archive, path, key) for key in ("images", "labels", "class_names")}
            present = [name.removesuffix(".npy") for name in archive.namelist()]
    except (DataError, MemoryError):
        raise
    except Exception as error:  # zip, deflate and npy parsing each have their own family of errors
        raise DataError(
            f"{path}: not a readable npz file ({first_line(error)}); "
            "write it with np.savez(FILE, images=..., labels=...)"
        ) from error
    images, labels, names = arrays["images"], arrays["labels"], arrays["class_names"]
    if images is None:
        found = ", ".join(sorted(present)[:10]) or "nothing"
        raise DataError(
            f"{path}: no array named 'images'; it holds {found}: write it with np.savez(FILE, images=..., labels=...)"
        )
    pixels = _as_bytes(path, _as_nhwc(path, images))
    if labels is None:
        if names is not None:
            raise DataError(f"{path}: has class_names and no labels; add an integer array 'labels'")
        return RawImages(pixels, labels=None, class_names=None)
    if not _is_integer(labels) or labels.shape != (len(pixels),):
        raise DataError(
            f"{path}: labels must be integers of shape ({len(pixels)},), one per image, "
            f"not {labels.dtype} {labels.shape}"
        )
    if names is None:
        return RawImages(pixels, labels, class_names=None)
    if names.dtype.kind != "U" or names.ndim != 1:
        raise DataError(
            f"{path}: class_names must be text of shape (K,), not {names.dtype} {names.shape}; "
            "save np.array([...], dtype=str)"
        )
    return RawImages(pixels, labels, tuple(names.tolist()))


def _read(archive: zipfile.ZipFile, path: Path, key: str) -> NDArray[np.generic] | None:
    """One array, or None when the file has none of that name. Its header is judged before memory is taken."""
    try:
        info = archive.getinfo(f"{key}.npy")
    except KeyError:
        return None
    with archive.open(info) as member:
        version = npy.read_magic(member)
        if version not in _HEADERS:
            raise DataError(f"{path}: array {key!r} has npy version {version}; save it as a plain array")
        shape, _, dtype = _HEADERS[version](member)
        if dtype.hasobject:
            raise DataError(
                f"{path}: array {key!r} holds Python objects, which are never loaded; save a plain array "
                "(all images of one shape)"
            )
        declared = check_bytes(f"{path}: array {key!r}", shape, dtype.itemsize)
        held = info.file_size - member.tell()
        if declared != held:
            raise DataError(f"{path}: array {key!r} declares {declared} bytes and holds {held}; write it again")
    with archive.open(info) as member:
        array: NDArray[np.generic] = npy.read_array(member, allow_pickle=False)
    return array


def _as_nhwc(path: Path, images: NDArray[np.generic]) -> NDArray[np.generic]:
    """(N, H, W), (N, H, W, C) or (N, C, H, W) -> (N, H, W, C), a view."""
    shape = images.shape
    if images.ndim == 3:
        images = images[..., None]  # (N, H, W) -> (N, H, W, 1)
    elif images.ndim == 4 and shape[1] in (1, 3) and shape[3] in (1, 3):
        raise DataError(f"{path}: images of shape {shape} could be (N, H, W, C) or (N, C, H, W); use (N, H, W)")
    elif images.ndim == 4 and shape[1] in (1, 3):
        images = images.transpose(0, 2, 3, 1)  # (N, C, H, W) -> (N, H, W, C)
    elif images.ndim != 4 or shape[3] not in (1, 3):
        raise DataError(
            f"{path}: images have shape {shape}; it must be (N, H, W), (N, H, W, C) or (N, C, H, W) with C 1 or 3"
        )
    if 0 in shape:
        raise DataError(f"{path}: images have shape {shape}, which holds no pixel")
    return images


def _as_bytes(path: Path, images: NDArray[np.generic]) -> NDArray[np.uint8]:
    if images.dtype == np.uint8:
        return images.view(np.uint8)
    if not _is_floating(images):
        raise DataError(f"{path}: images are {images.dtype}; they must be uint8 (0..255) or floats in [0, 1]")
    try:
        return from_unit_floats(images)
    except ValueError as error:
        raise DataError(f"{path}: images: {error}") from error


def _is_integer(array: NDArray[np.generic]) -> TypeGuard[NDArray[np.integer]]:
    return np.issubdtype(array.dtype, np.integer)


def _is_floating(array: NDArray[np.generic]) -> TypeGuard[NDArray[np.floating]]:
    return np.issubdtype(array.dtype, np.floating)
