"""The golden images' file, which may come from anybody."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from gan_export.artifact import load_artifact
from gan_export.artifact.golden import GOLDEN_FILE, MAX_GOLDEN_BYTES, unpack_golden

ARTIFACT = Path(__file__).resolve().parents[4] / "zoo" / "mnist-cgan"


def test_a_small_file_that_unpacks_to_very_much_is_refused():
    manifest = load_artifact(ARTIFACT).manifest
    case, pixels = unpack_golden((ARTIFACT / GOLDEN_FILE).read_bytes(), manifest)
    image = manifest.image
    many = MAX_GOLDEN_BYTES // pixels[0].nbytes + 1
    bomb = io.BytesIO()
    np.savez_compressed(
        bomb,
        z=np.zeros((many, manifest.latent.dim), np.float32),
        pixels=np.zeros((many, image.channels, image.height, image.width), np.float32),
        label=np.zeros(many, np.int64),
    )
    assert len(bomb.getvalue()) < 2**20
    with pytest.raises(ValueError, match="unpacks to more than 64 MiB"):
        unpack_golden(bomb.getvalue(), manifest)
    assert len(case.z) == len(pixels) == manifest.golden.images


def archive(members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", method) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return written.getvalue()


def members_of(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        return {name: file.read(name) for name in file.namelist()}


def header(text: str) -> bytes:
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


def shaped(shape: object) -> bytes:
    return header(f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}}}\n")


@pytest.mark.parametrize(
    "z",
    [
        shaped((10**12, 16)),
        shaped((2**62, 16)),
        shaped((10**30, 16)),
        shaped((-1, 16)),
        header("(" * 5000),
        header("{'descr': '|O', 'fortran_order': False, 'shape': (2, 16)}\n"),
        b"no array",
    ],
)
def test_an_array_that_lies_about_its_size_is_refused_before_it_is_made(z: bytes):
    members = members_of((ARTIFACT / GOLDEN_FILE).read_bytes()) | {"z.npy": z}
    with pytest.raises(ValueError, match=r"^z is not "):
        unpack_golden(archive(members), load_artifact(ARTIFACT).manifest)


def test_an_archive_that_is_not_numpys_is_refused():
    content = (ARTIFACT / GOLDEN_FILE).read_bytes()
    manifest, members = load_artifact(ARTIFACT).manifest, members_of(content)
    encrypted = bytearray(archive(members))
    encrypted[6] |= 1
    encrypted[encrypted.find(b"PK\x01\x02") + 8] |= 1
    garbled = bytearray(archive(members, zipfile.ZIP_DEFLATED))
    garbled[30 + len(next(iter(members)))] = 0xFF
    for made, said in (
        (bytes(encrypted), "is not an npz file"),
        (bytes(garbled), "is not an npz file"),
        (archive(members, zipfile.ZIP_BZIP2), "is compressed in another way"),  # zipfile would unpack it to its end
        (archive(members | {"\x1b[31m": b""}), "does not hold z.npy and pixels.npy and label.npy alone"),
    ):
        with pytest.raises(ValueError, match=said):
            unpack_golden(made, manifest)


@pytest.mark.parametrize("name", ["z", "pixels"])
def test_numbers_that_are_not_finite_and_fewer_images_than_promised_are_refused(name: str):
    with np.load(ARTIFACT / GOLDEN_FILE) as stored:
        arrays = dict(stored)
    manifest = load_artifact(ARTIFACT).manifest
    for value, said in ((arrays[name] * np.nan, "has NaN or infinite values"), (arrays[name][:1], "is not float32")):
        made = io.BytesIO()
        np.savez(made, **(arrays | {name: value}))
        with pytest.raises(ValueError, match=f"^{name} {said}"):
            unpack_golden(made.getvalue(), manifest)
