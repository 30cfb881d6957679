"""Golden images: inputs and the reference's own pixels, stored in the artifact so that any host can compare."""

from __future__ import annotations

import hashlib
import io
import zipfile
from typing import Final

import numpy as np

from .cases import Array, Case, Cases
from .manifest import Golden, ImageSpec, LatentSpec, Manifest

GOLDEN_FILE: Final = "golden.npz"
GOLDEN_CASES: Final = ("seed0_batch7", "tails", "zeros", "seed1000003_batch3")
MAX_GOLDEN_PIXELS: Final = 2**18  # floats in the file
MAX_GOLDEN_BYTES: Final = 64 * 2**20
LEAST_IMAGES: Final = 2  # in the file
HEADERS: Final = 2**12  # bytes of all arrays' own headers, at most


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
    names = {"z", "pixels", "label"} if manifest.classes else {"z", "pixels"}
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = archive.infolist()
        if sum(member.file_size for member in members) > MAX_GOLDEN_BYTES:
            raise ValueError(f"unpacks to more than {MAX_GOLDEN_BYTES // 2**20} MiB")
        with np.load(io.BytesIO(content), allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
    except (zipfile.BadZipFile, OSError, EOFError) as error:
        raise ValueError("is not an npz file") from error
    if set(arrays) != names:
        raise ValueError(f"holds {', '.join(sorted(arrays)) or 'nothing'}, not {', '.join(sorted(names))}")
    image = manifest.image
    n = len(arrays["z"]) if arrays["z"].ndim else 0
    wanted = {
        "z": ((n, manifest.latent.dim), np.float32),
        "pixels": ((n, image.channels, image.height, image.width), np.float32),
        "label": ((n,), np.int64),
    }
    for name, array in arrays.items():
        shape, dtype = wanted[name]
        if not n or array.shape != shape or array.dtype != dtype:
            raise ValueError(f"{name} is {array.dtype} {array.shape}, not {np.dtype(dtype)} {shape}")
    return Case(arrays["z"], arrays.get("label")), arrays["pixels"]
