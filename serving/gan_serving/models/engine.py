"""One session per generator variant."""

from __future__ import annotations

import statistics
import time
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gan_export.artifact import Artifact, Manifest, open_session, run_session
from gan_export.artifact.manifest import EXACT
from gan_export.artifact.providers import CPU, Provider
from gan_export.artifact.verify import check_session

LARGE_SECONDS: Final = 0.002
"""One image's time on one thread from which on its operators are shared out among threads. Below, it takes longer to
wake a thread than it saves: 64 images of 28x28 took 2.4 ms with two threads, and 1.9 ms with one."""
_TIMED_RUNS: Final = 5


class Engine:
    """A loaded generator. `run` may be called from any thread, `lanes` calls at a time."""

    def __init__(
        self,
        artifact: Artifact,
        variant: str = EXACT,
        *,
        threads: int = 0,
        lanes: int = 1,
        provider: Provider = CPU,
    ) -> None:
        """Load, draw the golden images and compare them.

        Args:
            artifact: as `load_artifact` returned it.
            variant: which graph.
            threads: threads inside an operator; 0 is one for each core.
            lanes: batches that run side by side.
            provider: what computes.

        Raises:
            ArtifactError: the artifact can't be served.
        """
        self.lanes = lanes
        self.manifest: Manifest = artifact.manifest
        self.variant = artifact.variant(variant)
        self.provider = provider
        self._session = open_session(artifact, variant, threads=threads, provider=provider)
        check_session(artifact, self._session, variant, provider)

    @property
    def threads(self) -> int:
        """Threads inside an operator; 0 is one for each core."""
        count: int = self._session.get_session_options().intra_op_num_threads
        return count

    def run(self, latents: NDArray[np.float32], labels: NDArray[np.int64] | None) -> NDArray[np.uint8]:
        """(N, latent_dim) and, when conditional, (N,) -> uint8 (N, C, H, W)."""
        images: NDArray[np.uint8] = run_session(self._session, latents, labels)
        return images

    def seconds_per_image(self) -> float:
        """Median time of an image that is alone."""
        latents = np.zeros((1, self.manifest.latent.dim), np.float32)
        labels = np.zeros(1, np.int64) if self.manifest.classes else None
        times = []
        for _ in range(_TIMED_RUNS):
            began = time.perf_counter()
            self.run(latents, labels)
            times.append(time.perf_counter() - began)
        return statistics.median(times)


def open_engine(artifact: Artifact, variant: str = EXACT, *, cores: int, provider: Provider = CPU) -> Engine:
    """An engine that uses its share of the cores as suits the net.

    The images are the same to the byte either way: `batch_invariant` of the certificate holds them to that.

    Args:
        artifact: as `load_artifact` returned it.
        variant: which graph.
        cores: how many there are to be used; threads of one batch's operators, or of batches side by side.
        provider: what computes; a GPU and OpenVINO do so batch after batch.

    Raises:
        ArtifactError: the artifact can't be served.
    """
    if provider is not CPU:
        return Engine(artifact, variant, threads=1 if provider.is_cuda else cores, provider=provider)
    engine = Engine(artifact, variant, threads=1, lanes=cores)
    if cores > 1 and engine.seconds_per_image() > LARGE_SECONDS:
        return Engine(artifact, variant, threads=cores)
    return engine
