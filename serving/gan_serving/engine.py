"""One ONNX Runtime session per generator variant."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gan_export.artifact import Artifact, Manifest, open_session, run_session
from gan_export.artifact.verify import check_session


class Engine:
    """A loaded generator. `run` may be called from any thread, one call at a time."""

    def __init__(self, artifact: Artifact, variant: str = "fp32", *, threads: int = 0) -> None:
        """Load, draw the golden images and compare them; raises ArtifactError if the artifact can't be served."""
        self.manifest: Manifest = artifact.manifest
        self._session = open_session(artifact, variant, threads=threads)
        check_session(artifact, self._session)

    def run(self, latents: NDArray[np.float32], labels: NDArray[np.int64] | None) -> NDArray[np.uint8]:
        """(N, latent_dim) and, when conditional, (N,) -> uint8 (N, C, H, W)."""
        images: NDArray[np.uint8] = run_session(self._session, latents, labels)
        return images
