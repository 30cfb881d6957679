"""Source -> artifact directory: capture, certify, describe, and only then let it appear under its name."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import importlib.metadata
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from . import card
from .artifact import (
    CERTIFICATE_FILE,
    IMAGE_OUTPUT,
    LABEL_INPUT,
    LATENT_INPUT,
    MANIFEST_FILE,
    PIXELS_OUTPUT,
    PREVIEW_FILE,
    Artifact,
    Manifest,
    Properties,
    Provenance,
    TensorSpec,
    Variant,
    is_artifact,
    load_artifact,
)
from .artifact.certificate import Certificate
from .capture import BATCH, capture, seal
from .certify import Reference, certificate_of, certify_variant
from .intake import Source

ONNX_FILE = "generator.onnx"
VARIANT = "fp32"
REFERENCE = "eager PyTorch on the CPU, eval mode"
PACKAGES = ("torch", "onnx", "onnxscript", "onnxruntime", "numpy", "ganworks")


class ExportError(RuntimeError):
    """The export failed and left nothing behind; the message is one line for the user."""


@dataclass(frozen=True)
class Exported:
    """A finished artifact."""

    artifact: Artifact
    certificate: Certificate


def export(
    source: Source,
    name: str,
    out: Path,
    *,
    force: bool = False,
    progress: Callable[[str], None] = lambda _: None,
) -> Exported:
    """Write the artifact `out`, all of it or nothing.

    Args:
        source: from `load_source`.
        name: the model's name, as clients will write it.
        out: directory to make; may only exist already with `force`, and if it is an artifact.
        progress: told in a few words what is being done.

    Raises:
        ExportError: `out` is taken or can't be written, or a gate of the certificate failed.
        CaptureError, CertificationError: the graph could not be made, or not run.
    """
    made: list[Path] = []  # folders that were not there, the deepest first
    try:
        _check_target(out, force=force)
        made = [folder for folder in out.parents if not folder.exists()]
        out.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
        staging.chmod(0o755)
    except OSError as error:
        raise ExportError(f"{out}: can't write there: {error.strerror}") from error
    try:
        exported = _write(source, name, staging, progress)
        _put(staging, out)
    except OSError as error:
        raise ExportError(f"{out}: can't write there: {error.strerror}") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        for folder in made:
            with contextlib.suppress(OSError):  # after a success it is not empty
                folder.rmdir()
    return Exported(load_artifact(out), exported)


def _write(source: Source, name: str, staging: Path, progress: Callable[[str], None]) -> Certificate:
    progress("tracing the generator")
    graph = capture(source.module, source.latent.dim, source.classes)
    # The file needs the manifest's identity and the manifest the file's digest; both hold what the gates must confirm.
    manifest = _manifest(source, name)
    content = seal(graph, manifest.identity())
    (staging / ONNX_FILE).write_bytes(content)
    manifest = _with_variant(manifest, content, {})
    (staging / MANIFEST_FILE).write_text(manifest.to_json())
    progress("comparing the file with PyTorch")
    result, speeds = certify_variant(staging, manifest, VARIANT, eager_reference(source.module))
    certificate = certificate_of(manifest, [result], REFERENCE)
    if certificate.failures:
        gate = certificate.failures[0]
        raise ExportError(
            f"the exported graph failed the gate {gate.code!r}: {gate.what}; measured {gate.measured:.6g} {gate.unit}, "
            f"the limit is {gate.limit:g}. Likely cause: {gate.advice}"
        )
    progress("drawing the preview")
    manifest = _with_variant(manifest, content, speeds)
    (staging / MANIFEST_FILE).write_text(manifest.to_json())
    (staging / CERTIFICATE_FILE).write_text(certificate.to_json())
    artifact = load_artifact(staging)
    card.draw_preview(artifact).save(staging / PREVIEW_FILE, optimize=True)
    (staging / card.CARD_FILE).write_text(card.write_card(manifest, certificate), encoding="utf-8")
    return certificate


def eager_reference(module: nn.Module) -> Reference:
    """The reference of a certificate: `module` in float32 and a float64 copy of it, both in eval mode."""
    module32 = copy.deepcopy(module).float().eval()
    module64 = copy.deepcopy(module).double().eval()

    @torch.no_grad()
    def reference(
        z: NDArray[np.float32], label: NDArray[np.int64] | None
    ) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        latents = torch.from_numpy(z)
        labels = () if label is None else (torch.from_numpy(label),)
        return module32(latents, *labels).numpy(), module64(latents.double(), *labels).numpy()

    return reference


def _manifest(source: Source, name: str) -> Manifest:
    image = [BATCH, source.image.channels, source.image.height, source.image.width]
    inputs = [TensorSpec(name=LATENT_INPUT, dtype="float32", shape=[BATCH, source.latent.dim])]
    if source.class_names is not None:
        inputs.append(TensorSpec(name=LABEL_INPUT, dtype="int64", shape=[BATCH]))
    # model_construct: the schema wants a variant, which needs the file, which needs this manifest's identity.
    return Manifest.model_construct(
        schema_version=1,
        name=name,
        family=source.family,
        hyperparameters=source.hyperparameters,
        latent=source.latent,
        class_names=source.class_names,
        image=source.image,
        inputs=inputs,
        outputs=[
            TensorSpec(name=IMAGE_OUTPUT, dtype="uint8", shape=list(image)),
            TensorSpec(name=PIXELS_OUTPUT, dtype="float32", shape=list(image)),
        ],
        provenance=Provenance(
            source_sha256=source.sha256,
            weights=source.weights,
            training=source.training,
            packages={package: importlib.metadata.version(package) for package in PACKAGES},
        ),
        properties=Properties(deterministic=True, batch_invariant=True),
        variants=[],
    )


def _with_variant(manifest: Manifest, content: bytes, speeds: dict[str, float]) -> Manifest:
    digest = hashlib.sha256(content).hexdigest()
    variant = Variant(name=VARIANT, file=ONNX_FILE, sha256=digest, images_per_second=speeds)
    return Manifest.model_validate(manifest.model_dump() | {"variants": [variant.model_dump()]})


def _check_target(out: Path, *, force: bool) -> None:
    if not out.exists() and not out.is_symlink():
        return
    if not is_artifact(out):
        raise ExportError(f"{out}: exists and is no artifact; choose another --out")
    if not force:
        raise ExportError(f"{out}: exists already; give --force to replace it, or another --out or --name")


def _put(staging: Path, out: Path) -> None:
    """Rename into place; an older artifact steps aside first and is deleted last."""
    if not out.exists():
        staging.rename(out)
        return
    aside = Path(tempfile.mkdtemp(prefix=f".{out.name}.old.", dir=out.parent)) / out.name
    out.rename(aside)
    try:
        staging.rename(out)
    except OSError:
        aside.rename(out)
        raise
    finally:
        shutil.rmtree(aside.parent, ignore_errors=True)
