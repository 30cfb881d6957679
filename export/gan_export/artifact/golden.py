"""Golden images: inputs and the reference's own pixels, stored in the artifact so that any host can compare."""

from __future__ import annotations

import hashlib
import io
import zipfile
from typing import Any, Final

import numpy as np

from .cases import Array, Case, Cases
from .manifest import Golden, ImageSpec, LatentSpec, Manifest

GOLDEN_FILE: Final = "golden.npz"
GOLDEN_CASES: Final = ("seed0_batch7", "tails", "zeros", "seed1000003_batch3")
MAX_GOLDEN_PIXELS: Final = 2**18  # floats in the file
MAX_GOLDEN_BYTES: Final = 64 * 2**20
LEAST_IMAGES: Final = 2  # in the file
HEADERS: Final = 2**12  # bytes of all arrays' own headers, at most
_COMPRESSIONS: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # what zipfile unpacks no further than it is asked to


def excess_of(image: ImageSpec, latent: LatentSpec) -> str:
    """Why images are too large for the file, in one line; empty if they are not."""
    each = 4 * (image.channels * image.height * image.width + latent.dim) + 8  # float32, and an int64 label
    needed = LEAST_IMAGES * each + HEADERS
    if needed <= MAX_GOLDEN_BYTES:
        return ""
    size = f"{image.height} x {image.width} pixels and {image.channels} channels"
    return (
        f"images of {size} are too large: the {LEAST_IMAGES} that an artifact stores for verification take "
        f"{needed / 2**20:.1f} MiB, and {MAX_GOLDEN_BYTES // 2**20} MiB are allowed; export a generator of smaller "
        "images"
    )


def pack_golden(cases: Cases, pixels: dict[str, Array]) -> bytes:
    """The bytes of golden.npz: some images of some cases; the same inputs give the same bytes."""
    z = np.concatenate([cases[name].z for name in GOLDEN_CASES])
    stored = np.concatenate([pixels[name] for name in GOLDEN_CASES]).astype(np.float32)
    n = max(LEAST_IMAGES, min(len(z), MAX_GOLDEN_PIXELS // stored[0].size))
    # Evenly spread, so that the tails are among few images too.
    chosen = np.linspace(0, len(z) - 1, n).round().astype(int)
    arrays = {"z": z[chosen], "pixels": stored[chosen]}
    labels = [cases[name].label for name in GOLDEN_CASES]
    known = [label for label in labels if label is not None]
    if known:
        arrays["label"] = np.concatenate(known)[chosen]
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def golden_entry(content: bytes) -> Golden:
    """What the manifest says of the file."""
    with np.load(io.BytesIO(content), allow_pickle=False) as stored:
        images = len(stored["z"])
    return Golden(file=GOLDEN_FILE, sha256=hashlib.sha256(content).hexdigest(), images=images)


def unpack_golden(content: bytes, manifest: Manifest) -> tuple[Case, Array]:
    """The inputs and pixels (N, C, H, W) of golden.npz.

    Raises:
        ValueError: it is something else, or does not fit the manifest.
    """
    image, n = manifest.image, manifest.golden.images
    wanted: dict[str, tuple[tuple[int, ...], np.dtype[Any]]] = {
        "z": ((n, manifest.latent.dim), np.dtype(np.float32)),
        "pixels": ((n, image.channels, image.height, image.width), np.dtype(np.float32)),
    }
    if manifest.classes:
        wanted["label"] = ((n,), np.dtype(np.int64))
    try:
        members = _members(content, [f"{name}.npy" for name in wanted])
    except ValueError:
        raise
    except Exception as error:  # zipfile and its decompressors raise a dozen unrelated types
        raise ValueError("is not an npz file") from error
    arrays = {name: _array_of(name, members[f"{name}.npy"], *form) for name, form in wanted.items()}
    return Case(arrays["z"], arrays.get("label")), arrays["pixels"]


def _members(content: bytes, names: list[str]) -> dict[str, bytes]:
    """What an archive of exactly these names holds."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = archive.infolist()
        if sorted(member.filename for member in members) != sorted(names):
            raise ValueError(f"does not hold {' and '.join(names)} alone")
        if any(member.compress_type not in _COMPRESSIONS for member in members):
            raise ValueError("is compressed in another way than npz files are")
        if sum(member.file_size for member in members) > MAX_GOLDEN_BYTES:
            raise ValueError(f"unpacks to more than {MAX_GOLDEN_BYTES // 2**20} MiB")
        return {member.filename: archive.read(member) for member in members}


def _array_of(name: str, content: bytes, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """An array of a member of an npz file; its header is read first, which could ask for any amount of memory."""
    try:
        stream = io.BytesIO(content)
        np.lib.format.read_magic(stream)
        found = np.lib.format.read_array_header_1_0(stream)
    except Exception as error:  # of whatever the header's text makes Python's parser raise
        raise ValueError(f"{name} is not an array") from error
    if (found[0], found[2]) != (shape, dtype):
        raise ValueError(f"{name} is not {dtype} {shape}")
    array: Array = np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)
    if not np.isfinite(array).all():
        raise ValueError(f"{name} has NaN or infinite values")
    return array
