"""One generator that is being served, and how it is made from an artifact folder."""

from __future__ import annotations

import hashlib
import logging
import time
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from gan_client.types import CertificateSummary, ModelInfo
from gan_export.artifact import MANIFEST_FILE, Artifact, ArtifactError, Manifest
from gan_export.artifact.certificate import Certificate
from gan_export.artifact.providers import runtime_version
from gan_export.artifact.reading import read_certificate, read_golden
from gan_serving.batching.batcher import Batcher
from gan_serving.batching.recorder import NullRecorder, Recorder
from gan_serving.settings import Settings

from .engine import Engine, open_engine
from .pages import Pages, pages_of
from .variants import choices_to_try, result_of

logger = logging.getLogger("bentoml.ganworks")

RecorderFn = Callable[[str], Recorder]


@dataclass(frozen=True)
class Generator:
    """A generator that is being served. Whoever holds it, or its batcher, can go on using it: what replaced it in the
    catalog does not matter. With the last holder go its thread and its session."""

    manifest: Manifest
    certificate: Certificate
    batcher: Batcher
    exported_at: float  # seconds since the epoch, of the manifest file
    engine: Engine
    loaded_at: float  # seconds since the epoch
    pages: Pages

    @cached_property
    def digest(self) -> str:
        """Of the graph that draws, in whose metadata the manifest's identity stands, and of what it is drawn with:
        with it, a seed and a label, an image is determined to the byte."""
        sha256, provider = self.engine.variant.sha256, self.engine.provider
        return hashlib.sha256(f"{sha256} {provider.title} {runtime_version(provider)}".encode()).hexdigest()

    @cached_property
    def identity(self) -> str:
        """Of the artifact: another one of the same name has another."""
        return self.manifest.identity()

    def info(self, *, default: bool, reason: str | None = None) -> ModelInfo:
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
            certificate=summary_of(self.certificate, self.engine),
            default=default,
            state="ready",
            reason=reason,
            loaded_at=self._loaded(),
            artifact=self.identity,
        )

    def describe(self, reason: str | None = None) -> dict[str, Any]:
        """What /models/{name} says of it: the whole manifest and certificate, and what is running."""
        return self.manifest.model_dump(mode="json") | {
            "certificate": self.certificate.model_dump(mode="json"),
            "certificate_summary": summary_of(self.certificate, self.engine).model_dump(mode="json"),
            "state": "ready",
            "reason": reason,
            "loaded_at": self._loaded(),
            "artifact": self.identity,
            "engine": {
                "variant": self.engine.variant.name,
                "sha256": self.engine.variant.sha256,
                "provider": self.engine.provider.title,
                "threads": self.engine.threads,
                "lanes": self.engine.lanes,
            },
        }

    def _loaded(self) -> str:
        return datetime.fromtimestamp(self.loaded_at, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def make_generator(artifact: Artifact, settings: Settings, recorder: RecorderFn | None = None) -> Generator:
    """Open a session, check it against its golden images, and put a queue before it.

    Raises:
        ArtifactError: the artifact can't be served.
    """
    certificate = read_certificate(artifact)
    engine = _open_engine(artifact, certificate, settings)
    name = artifact.name
    executor = ThreadPoolExecutor(engine.lanes, thread_name_prefix=f"run-{name}")
    batcher = Batcher(
        engine.run,
        max_batch=settings.max_batch,
        capacity=settings.queue_images,
        executor=executor,
        recorder=NullRecorder() if recorder is None else recorder(name),
        lanes=engine.lanes,
        name=name,
        in_loop=not engine.provider.is_cuda,
        patience=settings.timeout,
    )
    # A request may hold nothing but the batcher, so the batcher's end is the end.
    weakref.finalize(batcher, _close, executor, name, engine.variant.sha256)
    return Generator(
        manifest=artifact.manifest,
        certificate=certificate,
        batcher=batcher,
        exported_at=_written_at(artifact),
        engine=engine,
        loaded_at=time.time(),
        pages=pages_of(artifact),
    )


def _open_engine(artifact: Artifact, certificate: Certificate, settings: Settings) -> Engine:
    """The first way to draw that works here."""
    *others, last = choices_to_try(artifact, certificate, settings)
    for way in others:
        try:
            return open_engine(artifact, way.variant, cores=settings.session_threads, provider=way.provider)
        except ArtifactError as error:
            logger.warning("generator %s: %s is not served here: [%s] %s", artifact.name, way, error.code, error)
    return open_engine(artifact, last.variant, cores=settings.session_threads, provider=last.provider)


def with_pages_of(generator: Generator, artifact: Artifact) -> Generator:
    """The same session and queue, with certificate and pages of an artifact that has the same graph.

    Raises:
        ArtifactError: the certificate or the golden images are damaged.
    """
    read_golden(artifact)
    return replace(
        generator,
        certificate=read_certificate(artifact),
        exported_at=_written_at(artifact),
        pages=pages_of(artifact),
    )


def summary_of(certificate: Certificate, engine: Engine) -> CertificateSummary:
    """The certificate of what draws, in short."""
    result = result_of(certificate, engine.variant.name, engine.provider)
    return CertificateSummary(
        reference=certificate.reference,
        images=result.compared if result else 0,
        max_abs_error=result.against_float32.max_abs if result and result.against_float32 else None,
        gates=[gate.code for gate in result.gates if gate.passed] if result else [],
        allowed=[gate.code for gate in result.gates if gate.allowed] if result else [],
    )


def _close(executor: ThreadPoolExecutor, name: str, digest: str) -> None:
    executor.shutdown(wait=False)
    logger.debug("generator %s: the session of %s... is closed", name, digest[:12])


def _written_at(artifact: Artifact) -> float:
    try:
        return (artifact.directory / MANIFEST_FILE).stat().st_mtime
    except OSError:  # removed since it was read
        return 0.0
