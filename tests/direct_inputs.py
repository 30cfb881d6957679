"""What a session takes to draw an artifact's first images."""

import numpy as np

from gan_export.artifact import Artifact, draw


def inputs_of(artifact: Artifact, images: int) -> tuple[np.ndarray, np.ndarray | None]:
    """The latents of so many seeds from 0 on, and labels that take turns, if there are classes."""
    manifest = artifact.manifest
    latents = draw(range(images), manifest.latent.dim, manifest.latent.distribution).latents
    return latents, np.arange(images, dtype=np.int64) % manifest.classes if manifest.classes else None
