"""The golden images' file, which may come from anybody."""

import io
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
