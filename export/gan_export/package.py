"""Source -> artifact directory: capture, certify, describe, and only then let it appear under its name."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx

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
from .artifact.cases import make_cases
from .artifact.certificate import Certificate, Gate, Options
from .artifact.gates import judge_reference
from .artifact.golden import GOLDEN_FILE, golden_entry, pack_golden
from .capture import BATCH, capture, seal
from .certify import ask_reference, certificate_of, certify_variant, drawer_of
from .source import Source

ONNX_FILE = "generator.onnx"
VARIANT = "fp32"
PACKAGES = ("torch", "onnx", "onnxscript", "onnxruntime", "numpy", "ganworks")


ProgressFn = Callable[[str], None]


class ExportError(RuntimeError):
    """The export failed and left nothing behind; the message is one line for the user, `code` stable."""

    def __init__(self, message: str, code: str = "output") -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Exported:
    """A finished artifact."""

    artifact: Artifact
    certificate: Certificate
    notes: tuple[str, ...]  # what was worked out, and what nobody vouches for


def export(
    source: Source,
    name: str,
    out: Path,
    *,
    options: Options | None = None,
    force: bool = False,
    progress: ProgressFn = lambda _: None,
) -> Exported:
    """Write the artifact `out`, all of it or nothing.

    Args:
        source: from `load_source`.
        name: the model's name, as clients will write it.
        options: tolerance, and gates that need not pass.
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
        exported = _write(source, name, staging, options or Options(), progress)
        _put(staging, out)
    except OSError as error:
        raise ExportError(f"{out}: can't write there: {error.strerror}") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        for folder in made:
            with contextlib.suppress(OSError):  # after a success it is not empty
                folder.rmdir()
    return Exported(load_artifact(out), exported, source.notes)


def _write(source: Source, name: str, staging: Path, options: Options, progress: ProgressFn) -> Certificate:
    drawer = drawer_of(source.generator)
    cases = make_cases(source.latent, source.classes)
    progress("drawing with the original generator")
    reference = ask_reference(drawer, cases, lambda done, all_: progress(f"the original generator: {done} of {all_}"))
    golden = pack_golden(cases, reference.float32)
    (staging / GOLDEN_FILE).write_bytes(golden)
    properties = Properties(deterministic=True, batch_invariant=True)
    _refuse_failed(judge_reference(_manifest(source, name, golden, properties), reference, options), "the generator")
    progress("tracing the generator")
    graph = _graph_of(source)
    while True:
        # The file needs the manifest's identity and the manifest the file's digest; both hold what the gates confirm.
        manifest = _manifest(source, name, golden, properties)
        content = seal(graph, manifest.identity())
        (staging / ONNX_FILE).write_bytes(content)
        manifest = _with_variant(manifest, content, {})
        (staging / MANIFEST_FILE).write_text(manifest.to_json())
        progress("comparing the file with the original generator")
        result, speeds = certify_variant(staging, manifest, VARIANT, cases, reference, options)
        certificate = certificate_of(manifest, [result], drawer.name, options)
        _refuse_failed(result.gates, "the exported graph")
        found = Properties(
            deterministic="deterministic" not in certificate.allowed,
            batch_invariant="batch_invariant" not in certificate.allowed,
        )
        if found == properties:
            break
        properties = found  # a gate was let through: the manifest must not promise what it checks
    progress("drawing the preview")
    manifest = _with_variant(manifest, content, speeds)
    (staging / MANIFEST_FILE).write_text(manifest.to_json())
    (staging / CERTIFICATE_FILE).write_text(certificate.to_json())
    artifact = load_artifact(staging)
    card.draw_preview(artifact).save(staging / PREVIEW_FILE, optimize=True)
    (staging / card.CARD_FILE).write_text(card.write_card(manifest, certificate, source.notes), encoding="utf-8")
    return certificate


def _refuse_failed(gates: Sequence[Gate], what: str) -> None:
    for gate in gates:
        if gate.failed:
            raise ExportError(f"{what} {gate.complaint()}", gate.code)


def _graph_of(source: Source) -> onnx.ModelProto:
    if isinstance(source.generator, onnx.ModelProto):
        return source.generator
    return capture(source.generator, source.latent.dim, source.classes)


def _manifest(source: Source, name: str, golden: bytes, properties: Properties) -> Manifest:
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
        properties=properties,
        golden=golden_entry(golden),
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
