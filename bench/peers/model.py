"""What every peer serves: the artifact of BENCH_ARTIFACT, drawn from seeds and encoded by Pillow."""

import io
import os
from pathlib import Path

import numpy as np
from PIL import Image

from gan_export.artifact import draw, load_artifact, open_session, run_session
from gan_export.artifact.processor import usable_cores
from gan_serving.models.engine import open_engine

ARTIFACT = load_artifact(Path(os.environ["BENCH_ARTIFACT"]))
MANIFEST = ARTIFACT.manifest


class Model:
    """A session with the options of serving, and as many threads as the service would give it."""

    def __init__(self, threads: int | None = None) -> None:
        if threads is None:
            threads = open_engine(ARTIFACT, cores=usable_cores()).threads
        self.session = open_session(ARTIFACT, threads=threads)

    def latents(self, seeds: list[int]) -> np.ndarray:
        """(N, latent_dim)"""
        return draw(seeds, MANIFEST.latent.dim, MANIFEST.latent.distribution, classes=MANIFEST.classes).latents

    def images(self, seeds: list[int], labels: list[int]) -> np.ndarray:
        """uint8 (N, C, H, W)"""
        given = np.array(labels, np.int64) if MANIFEST.classes else None
        images: np.ndarray = run_session(self.session, self.latents(seeds), given)
        return images


def png(image: np.ndarray) -> bytes:
    """(C, H, W) -> a PNG file, as anybody would write it."""
    buffer = io.BytesIO()
    Image.fromarray(image[0] if len(image) == 1 else image.transpose(1, 2, 0)).save(buffer, format="PNG")
    return buffer.getvalue()
