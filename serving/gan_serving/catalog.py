"""Which generators are loaded."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from gan_client.types import CertificateSummary, ModelInfo
from gan_export.artifact import MANIFEST_FILE, ArtifactError, Manifest, find_artifacts, load_artifact
from gan_export.artifact.certificate import Certificate
from gan_export.artifact.reading import read_certificate

from .batcher import Batcher
from .engine import Engine
from .errors import NotReadyError, UnknownModelError
from .settings import Settings

logger = logging.getLogger("bentoml.ganworks")


@dataclass(frozen=True)
class Generator:
    """A generator that is being served."""

    manifest: Manifest
    certificate: Certificate
    batcher: Batcher
    exported_at: float  # seconds since the epoch, of the manifest file

    def info(self, *, default: bool) -> ModelInfo:
        """What /models says of it."""
        manifest = self.manifest
        return ModelInfo(
            name=manifest.name,
            image_size=(manifest.image.height, manifest.image.width),
            channels=manifest.image.channels,
            latent_dim=manifest.latent.dim,
            latent_distribution=manifest.latent.distribution,
            class_names=manifest.class_names,
            family=manifest.family,
            certificate=summary_of(self.certificate),
            default=default,
        )


class Catalog:
    """The generators of this worker, by name."""

    def __init__(self, settings: Settings) -> None:
        """Load everything in the settings' folders; what can't be loaded is logged and left out."""
        self._settings = settings
        self._generators: dict[str, Generator] = {}
        for directory in artifact_directories(settings.model_folders):
            self._load(directory)

    def _load(self, directory: Path) -> None:
        try:
            artifact = load_artifact(directory)
            if artifact.name in self._generators:
                raise ArtifactError(
                    "name_taken", f"{directory}: another artifact is named {artifact.name!r} too; this one is left out"
                )
            certificate = read_certificate(artifact)
            engine = Engine(artifact, threads=self._settings.session_threads)
        except ArtifactError as error:
            logger.error("generator not loaded: [%s] %s", error.code, error)
            return
        self._generators[artifact.name] = Generator(
            artifact.manifest,
            certificate,
            Batcher(
                engine.run,
                max_batch=self._settings.max_batch,
                capacity=self._settings.queue_images,
                executor=ThreadPoolExecutor(1, thread_name_prefix=f"run-{artifact.name}"),
            ),
            (directory / MANIFEST_FILE).stat().st_mtime,
        )
        logger.info("generator %s loaded from %s", artifact.name, directory)

    def __len__(self) -> int:
        return len(self._generators)

    def list(self) -> list[ModelInfo]:
        """All generators, by name."""
        default = self.default_name
        return [self._generators[name].info(default=name == default) for name in sorted(self._generators)]

    @property
    def default_name(self) -> str | None:
        """The generator of requests that name none: GAN_DEFAULT_MODEL, else the newest artifact."""
        if self._settings.default_model is not None or not self._generators:
            return self._settings.default_model
        return max(self._generators, key=lambda name: (self._generators[name].exported_at, name))

    def get(self, name: str | None) -> Generator:
        """The generator of that name, or the default one if no name is given.

        Raises:
            UnknownModelError: there is none of that name.
            NotReadyError: none is loaded.
        """
        if not self._generators:
            raise NotReadyError(f"no generator is loaded from {self._settings.models}; see the service's log")
        known = ", ".join(sorted(self._generators))
        name = self.default_name if name is None else name
        if name is None or name not in self._generators:
            raise UnknownModelError(f"model {name!r} is unknown; this service has {known}", "model")
        return self._generators[name]


def summary_of(certificate: Certificate) -> CertificateSummary:
    """The certificate of the first variant, in short."""
    result = certificate.results[0]
    return CertificateSummary(
        reference=certificate.reference,
        images=result.compared,
        max_abs_error=result.against_float32.max_abs if result.against_float32 else None,
        gates=[gate.code for gate in result.gates if gate.passed],
        allowed=[gate.code for gate in result.gates if gate.allowed],
    )


def artifact_directories(folders: Iterable[Path]) -> list[Path]:
    """All artifact directories in the folders, in their order."""
    return [directory for folder in folders for directory in find_artifacts(folder)]
