"""Source -> artifact directory: capture, certify, describe, and only then let it appear under its name."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

import onnx

from gan_export.artifact import (
    CERTIFICATE_FILE,
    MANIFEST_FILE,
    PREVIEW_FILE,
    Artifact,
    Properties,
    load_artifact,
)
from gan_export.artifact.cases import make_cases
from gan_export.artifact.certificate import Certificate, Options, VariantCertificate
from gan_export.artifact.gates import judge_reference
from gan_export.artifact.golden import GOLDEN_FILE, excess_of, pack_golden
from gan_export.artifact.manifest import EXACT
from gan_export.artifact.providers import CUDA, Provider, absence_of, check_provider
from gan_export.capture import capture
from gan_export.certify import ask_reference, certificate_of
from gan_export.reference import runner_of
from gan_export.refusal import ExportError
from gan_export.sources.source import Source

from . import card
from .exact import Draft, draft_exact, refuse_failed
from .manifest import first_manifest
from .other_providers import certify_other_providers
from .recipe import ProgressFn, Recipe
from .target import check_target, lost_variants, put, staging_folder, variants_at
from .variants import FP16, INT8, Certifier, LeftOutError, Made, add_int8, unsteady, with_variants


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
        portable: leave the graph as it was traced, for other runtimes and hosts; nor does any layer of int8 take a form
            for its speed on this one.
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
    recipe = Recipe(
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
        put(staging, out, force=force)
    notes = (*written.notes, *lost_variants(before, variants))
    return replace(written, artifact=Artifact(out, written.artifact.manifest), notes=notes)


def _write(source: Source, name: str, staging: Path, recipe: Recipe) -> Exported:
    """Everything but the name, into `staging`."""
    options, progress = recipe.options, recipe.progress
    runner = runner_of(source.generator)
    cases = make_cases(source.latent, source.classes)
    progress("drawing with the original generator")
    reference = ask_reference(runner, cases, lambda done, all_: progress(f"the original generator: {done} of {all_}"))
    golden = pack_golden(cases, reference.float32)
    (staging / GOLDEN_FILE).write_bytes(golden)
    properties = Properties(deterministic=True, batch_invariant=True)
    manifest = first_manifest(source, name, golden, properties)
    refuse_failed(judge_reference(manifest, reference, options), "the generator")
    progress("tracing the generator")
    traced = _graph_of(source)
    certifier = Certifier(staging, cases, reference, options)
    draft = draft_exact(source, manifest, traced, certifier, recipe)
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


def _other_variants(
    draft: Draft, traced: onnx.ModelProto, certifier: Certifier, recipe: Recipe
) -> tuple[list[Made], list[VariantCertificate], list[str]]:
    """All variants, the exact one first; the results of that one on GPUs; and notes on what is left out."""
    all_made, notes = [draft.made], list[str]()
    if INT8 in recipe.variants:
        try:
            exact, portable = draft.graph.model, recipe.portable
            all_made.append(
                add_int8(certifier, draft.manifest, traced, exact, draft.made, recipe.progress, portable=portable)
            )
        except LeftOutError as error:
            notes.append(str(error))
    others = certify_other_providers(
        certifier, draft.manifest, traced, all_made, recipe.providers, recipe.variants, recipe.progress
    )
    return [*all_made, *others.made], others.results, [*notes, *others.notes]


def _graph_of(source: Source) -> onnx.ModelProto:
    if isinstance(source.generator, onnx.ModelProto):
        return source.generator
    return capture(source.generator, source.latent.dim, source.classes)
