"""Source -> artifact directory: capture, certify, describe, and only then let it appear under its name."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import onnx

from gan_export.artifact import (
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
    load_artifact,
)
from gan_export.artifact.candidate import CertificationError
from gan_export.artifact.cases import make_cases
from gan_export.artifact.certificate import Certificate, Gate, Options, VariantCertificate
from gan_export.artifact.first_line import first_line
from gan_export.artifact.gates import judge_reference
from gan_export.artifact.golden import GOLDEN_FILE, excess_of, golden_entry, pack_golden
from gan_export.artifact.manifest import EXACT
from gan_export.artifact.providers import CUDA, Provider, absence_of, check_provider
from gan_export.capture import BATCH, capture
from gan_export.certify import ask_reference, certificate_of, runner_of
from gan_export.refusal import ExportError
from gan_export.sources.source import Source
from gan_export.tuning import GRAPH_ERRORS, RewrittenGraph, tune

from . import card
from .directions import principal_directions
from .other_providers import certify_other_providers
from .target import check_target, lost_variants, put, staging_folder, variants_at
from .variants import FP16, INT8, Certifier, LeftOutError, Made, add_int8, unsteady, with_variants

PACKAGES = ("torch", "onnx", "onnxscript", "onnxruntime", "numpy", "ganworks")
AS_TRACED = "The graph is left as it was traced, because the rewritten one"

ProgressFn = Callable[[str], None]


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
    variants: Collection[str] = (EXACT,),
    providers: Collection[Provider] = (),
    portable: bool = False,
    for_gpu: bool = False,
    force: bool = False,
    progress: ProgressFn = lambda _: None,
) -> Exported:
    """Write the artifact `out`, all of it or nothing.

    Args:
        source: from `load_source`.
        name: the model's name, as clients will write it.
        options: tolerance, and gates that need not pass.
        variants: of VARIANTS; fp32 is always made. int8 and fp16 are left out, with a note, where they do not pay or
            would show, and fp16 where there is no `CUDA`, which it is certified on.
        providers: beside ONNX Runtime on the processor, which the artifact is to be certified on.
        portable: leave the graph as it was traced, for other runtimes and hosts; nothing is measured on this one.
        for_gpu: have no transposed convolutions in the graph; so it is for `providers` of CUDA's and for fp16, where
            it can be run, anyway.
        out: directory to make; may only exist already with `force`, and if it is an artifact and holds nothing else.
        progress: told in a few words what is being done.

    Raises:
        ExportError: `out` is taken or can't be written, images are too large, or a gate of the certificate failed.
        CaptureError, CertificationError: the graph could not be made, or not run.
        ArtifactError: a provider is not there.
    """
    for provider in providers:
        check_provider(provider)
    no_gpu = absence_of(CUDA) if FP16 in variants else ""
    measured_on = tuple(dict.fromkeys([*providers, *([CUDA] if FP16 in variants and not no_gpu else [])]))
    check_target(out, force=force)
    if excess := excess_of(source.image, source.latent):
        raise ExportError(excess, code="golden")
    if no_gpu:
        source = replace(source, notes=(*source.notes, f"{FP16} is left out because it can't be run here: {no_gpu}."))
    recipe = _Recipe(
        options or Options(),
        frozenset(variants),
        measured_on,
        portable,
        for_gpu=for_gpu or any(provider.is_cuda for provider in measured_on),
        progress=progress,
    )
    before = variants_at(out)
    with staging_folder(out) as staging:
        written = _write(source, name, staging, recipe)
        put(staging, out)
    notes = (*written.notes, *lost_variants(before, variants))
    return replace(written, artifact=Artifact(out, written.artifact.manifest), notes=notes)


@dataclass(frozen=True)
class _Recipe:
    """How an artifact is made; the fields are as for `export`."""

    options: Options
    variants: frozenset[str]
    providers: tuple[Provider, ...]
    portable: bool
    for_gpu: bool
    progress: ProgressFn


@dataclass(frozen=True)
class _Draft:
    """An artifact's manifest, and its exact variant in its file."""

    manifest: Manifest
    made: Made
    graph: RewrittenGraph
    notes: list[str]


def _write(source: Source, name: str, staging: Path, recipe: _Recipe) -> Exported:
    """Everything but the name, into `staging`."""
    options, progress = recipe.options, recipe.progress
    runner = runner_of(source.generator)
    cases = make_cases(source.latent, source.classes)
    progress("drawing with the original generator")
    reference = ask_reference(runner, cases, lambda done, all_: progress(f"the original generator: {done} of {all_}"))
    golden = pack_golden(cases, reference.float32)
    (staging / GOLDEN_FILE).write_bytes(golden)
    properties = Properties(deterministic=True, batch_invariant=True)
    manifest = _manifest(source, name, golden, properties)
    _refuse_failed(judge_reference(manifest, reference, options), "the generator")
    progress("tracing the generator")
    traced = _graph_of(source)
    certifier = Certifier(staging, cases, reference, options)
    draft = _exact_variant(source, manifest, traced, certifier, recipe)
    all_made, results, more_notes = _other_variants(draft, traced, certifier, recipe)
    notes = [*draft.notes, *more_notes]
    progress("drawing the preview")
    manifest = with_variants(draft.manifest, [each.variant for each in all_made])
    certificate = certificate_of(manifest, [*(each.result for each in all_made), *results], runner.name, options)
    (staging / MANIFEST_FILE).write_text(manifest.to_json())
    (staging / CERTIFICATE_FILE).write_text(certificate.to_json())
    artifact = load_artifact(staging)
    card.draw_preview(artifact).save(staging / PREVIEW_FILE, optimize=True)
    (staging / card.CARD_FILE).write_text(
        card.write_card(manifest, certificate, [*notes, *unsteady(all_made)]), encoding="utf-8"
    )
    return Exported(artifact, certificate, tuple(notes))


def _exact_variant(
    source: Source, manifest: Manifest, traced: onnx.ModelProto, certifier: Certifier, recipe: _Recipe
) -> _Draft:
    """Fit the graph for this host, certify its file, and have the manifest promise what the gates confirm.

    Raises:
        ExportError: a gate failed.
    """
    notes, properties = list(source.notes), manifest.properties
    first = RewrittenGraph(traced)
    if not recipe.portable:
        try:
            first = tune(traced, source.latent, source.classes, recipe.progress, for_gpu=recipe.for_gpu)
        except GRAPH_ERRORS as error:
            notes.append(f"{AS_TRACED} can't be opened by ONNX Runtime: {first_line(error)}.")
    directions = principal_directions(traced, source.latent.dim)
    while True:
        # The file needs the manifest's identity and the manifest the file's digest; both hold what the gates confirm.
        manifest = manifest.model_copy(update={"properties": properties, "directions": directions})
        recipe.progress("comparing the file with the original generator")
        made, graph, refused = _best_that_passes(certifier, manifest, [first, RewrittenGraph(traced)])
        notes += [refused] if refused and refused not in notes else []
        allowed = {gate.code for gate in made.result.gates if gate.allowed}
        # What was let through once is not promised again: a gate of a noisy generator may come out otherwise each time,
        # and this ends.
        found = Properties(
            deterministic=properties.deterministic and "deterministic" not in allowed,
            batch_invariant=properties.batch_invariant and "batch_invariant" not in allowed,
        )
        if found == properties:
            return _Draft(manifest, made, graph, notes)
        properties = found  # a gate was let through: the manifest must not promise what it checks


def _other_variants(
    draft: _Draft, traced: onnx.ModelProto, certifier: Certifier, recipe: _Recipe
) -> tuple[list[Made], list[VariantCertificate], list[str]]:
    """All variants, the exact one first; the results of that one on GPUs; and notes on what is left out."""
    all_made, notes = [draft.made], list[str]()
    if INT8 in recipe.variants:
        try:
            all_made.append(add_int8(certifier, draft.manifest, traced, draft.graph.model, draft.made, recipe.progress))
        except LeftOutError as error:
            notes.append(str(error))
    others = certify_other_providers(
        certifier, draft.manifest, traced, all_made, recipe.providers, recipe.variants, recipe.progress
    )
    return [*all_made, *others.made], others.results, [*notes, *others.notes]


def _best_that_passes(
    certifier: Certifier, manifest: Manifest, graphs: Sequence[RewrittenGraph]
) -> tuple[Made, RewrittenGraph, str]:
    """The first graph that passes the gates, and a sentence on the one before that did not.

    Raises:
        ExportError: the last one does not pass either.
        CertificationError: it can't be run either.
    """
    refused = ""
    for graph in graphs[:-1]:
        if not graph.rewrites:
            continue
        try:
            made = certifier.certify(manifest, EXACT, graph)
        except CertificationError as error:
            refused = f"{AS_TRACED} can't be certified: {error}."
            continue
        failed = next((gate for gate in made.result.gates if not gate.passed), None)
        if failed is None:
            return made, graph, ""
        refused = f"{AS_TRACED} {failed.complaint()}."
    made = certifier.certify(manifest, EXACT, graphs[-1])
    _refuse_failed(made.result.gates, "the exported graph")
    return made, graphs[-1], refused


def _refuse_failed(gates: Sequence[Gate], what: str) -> None:
    for gate in gates:
        if gate.failed:
            raise ExportError(f"{what} {gate.complaint()}", code=gate.code)


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
            packages=package_versions(),
        ),
        properties=properties,
        golden=golden_entry(golden),
        variants=[],
    )


def package_versions() -> dict[str, str]:
    """Of PACKAGES, as a manifest has them."""
    return {package: _version(package) for package in PACKAGES}


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return importlib.metadata.version(f"{package}-gpu")  # ONNX Runtime's for GPUs, in the place of the other
