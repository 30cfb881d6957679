"""One ONNX Runtime session per generator variant."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from gan_export.artifact import Artifact, Manifest, open_session, run_session
from gan_export.artifact.verify import check_session

DEFAULT_VARIANT: Final = "fp32"


class Engine:
    """A loaded generator. `run` may be called from any thread, one call at a time."""

    def __init__(self, artifact: Artifact, variant: str = DEFAULT_VARIANT, *, threads: int = 0) -> None:
        """Load, draw the golden images and compare them; raises ArtifactError if the artifact can't be served."""
        self.manifest: Manifest = artifact.manifest
        self.variant = artifact.variant(variant)
        self._session = open_session(artifact, variant, threads=threads)
        check_session(artifact, self._session)

    @property
    def provider(self) -> str:
        """ONNX Runtime's execution provider that the session uses first."""
        name: str = self._session.get_providers()[0]
        return name

    @property
    def threads(self) -> int:
        """Threads inside an operator; 0 is one for each core."""
        count: int = self._session.get_session_options().intra_op_num_threads
        return count

    def run(self, latents: NDArray[np.float32], labels: NDArray[np.int64] | None) -> NDArray[np.uint8]:
        """(N, latent_dim) and, when conditional, (N,) -> uint8 (N, C, H, W)."""
        images: NDArray[np.uint8] = run_session(self._session, latents, labels)
        return images
