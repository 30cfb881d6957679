"""The certificate again, from the artifact alone: what `gan-verify` does, and in short form a service at its start."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from .candidate import Result, Results, run_candidate
from .cases import CERTIFIED_BATCHES, SEEDS, Array, Case, Cases, make_cases, short_cases
from .certificate import Certificate, Gate, Options, VariantCertificate
from .evidence import Evidence, Reference
from .first_line import first_line
from .gates import ALLOWABLE, judge
from .manifest import CERTIFICATE_FILE, EXACT, Manifest, Variant
from .providers import CPU, PROVIDERS, REPEATABLE, Provider, algorithm_search
from .reading import Artifact, ArtifactError, load_artifact, read_certificate, read_golden, read_graph
from .runtime import Session, run_session


def verify(
    directory: Path,
    tolerance: float | None = None,
    progress: Callable[[str], None] = lambda _: None,
    provider: Provider = CPU,
) -> tuple[Certificate, Certificate]:
    """Measure an artifact on this host, against the golden images that are stored in it.

    Args:
        directory: the artifact.
        tolerance: largest absolute error of pixels; None: the one it was exported with.
        provider: what draws; of the artifact's variants, those that it draws are measured.
        progress: told in a few words what is being done.

    Returns:
        What was found here, and the certificate that the artifact carries.

    Raises:
        ArtifactError, CertificationError: the artifact is damaged, or can't be run at all.
    """
    progress("reading the artifact")
    artifact = load_artifact(directory)
    stored = read_certificate(artifact)
    golden, pixels = read_golden(artifact)
    cases = {"golden": golden} | make_cases(artifact.manifest.latent, artifact.manifest.classes)
    options = stored.options if tolerance is None else stored.options.model_copy(update={"tolerance": tolerance})
    results = []
    for variant in _drawn_by(provider, artifact):
        progress(f"drawing {sum(len(case.z) for case in cases.values())} images with {variant.name}")
        made, _ = run_candidate(directory, variant.name, cases, provider)
        evidence = Evidence(artifact.manifest, cases, made, Reference({"golden": pixels}), variant.name, provider)
        results.append(summarise(evidence, _kept_to(artifact.manifest, options)))
    found = Certificate(
        manifest_identity=artifact.manifest.identity(),
        reference=f"{len(pixels)} golden images, stored at export ({stored.reference})",
        options=options,
        results=results,
        variants_sha256=artifact.manifest.variants_digest(),
    )
    return found, stored


def _kept_to(manifest: Manifest, options: Options) -> Options:
    """Options that let through neither what the manifest promises (when it was exported, that gate passed) nor what no
    export may let through."""
    promised = [code for code, holds in manifest.properties.model_dump().items() if holds]
    return options.model_copy(
        update={"allowed": tuple(code for code in options.allowed if code in ALLOWABLE and code not in promised)}
    )


def _drawn_by(provider: Provider, artifact: Artifact) -> list[Variant]:
    """The variants that a provider draws.

    Raises:
        ArtifactError: there is none, or one that no provider draws: what is not drawn must not count as verified.
    """
    drawn = []
    for variant in artifact.manifest.variants:
        if not any(variant.name in each.variants for each in PROVIDERS.values()):
            known = ", ".join(dict.fromkeys(name for each in PROVIDERS.values() for name in each.variants))
            raise ArtifactError(
                f"{artifact.directory}: its variant {variant.name!r} is unknown; this version can run {known}",
                code="manifest",
            )
        if variant.name in provider.variants:
            drawn.append(variant)
    if not drawn:
        raise ArtifactError(
            f"{artifact.directory}: has no variant that {provider.word} can run; it runs "
            f"{' and '.join(provider.variants)}, so nothing can be verified; export again",
            code="manifest",
        )
    return drawn


def add_results(directory: Path, found: Certificate) -> list[VariantCertificate]:
    """Put what `verify` found into the artifact's certificate, in place of earlier results of the same provider.

    A result that compared more images stays: an export's, whose images are not all in the artifact.

    Args:
        directory: the artifact.
        found: with results whose gates all passed.

    Returns:
        Those of its results that are in the artifact's certificate now.

    Raises:
        ArtifactError: the artifact's own certificate can't be read, or the new one not be written; the artifact is
            another than that which was measured; or the tolerance was larger than its certificate's.
    """
    artifact = load_artifact(directory)
    stored = read_certificate(artifact)
    here = (artifact.manifest.identity(), artifact.manifest.variants_digest())
    if here != (found.manifest_identity, found.variants_sha256):
        raise ArtifactError(
            f"{directory}: is not the artifact that was measured, which was replaced in the meantime: "
            "nothing was added; verify again",
            code="identity",
        )
    allowed, used = stored.options.tolerance, found.options.tolerance
    if used > allowed:
        raise ArtifactError(
            f"{directory}: measured with a tolerance of {used:g}, more than the {allowed:g} of its certificate: "
            "nothing was added; verify without --tolerance",
            code="certificate",
        )
    before = {(result.variant, result.provider): result for result in stored.results}
    added = {(result.variant, result.provider): result for result in found.results}
    added = {key: new for key, new in added.items() if key not in before or before[key].compared <= new.compared}
    kept = [result for key, result in before.items() if key not in added]
    if added:
        certificate = stored.model_copy(update={"results": [*kept, *added.values()]})
        _replace(directory / CERTIFICATE_FILE, certificate.to_json())
    return list(added.values())


def with_slow_layers(directory: Path, provider: Provider) -> list[str]:
    """The variants of an artifact that draw more slowly on a GPU than they could; none on a processor."""
    if not provider.is_cuda:
        return []
    artifact = load_artifact(directory)
    drawn = [variant for variant in artifact.manifest.variants if variant.name in provider.variants]
    return [each.name for each in drawn if algorithm_search(read_graph(artifact, each)) == REPEATABLE]


def _replace(path: Path, text: str) -> None:
    """The whole file or none of it."""
    try:
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".certificate.") as folder:
            written = Path(folder) / path.name
            written.write_text(text)
            written.chmod(path.stat().st_mode & 0o777)
            written.replace(path)
    except OSError as error:
        raise ArtifactError(f"{path}: can't be written: {error.strerror}", code="certificate") from error


def check_session(artifact: Artifact, session: Session, variant: str = EXACT, provider: Provider = CPU) -> None:
    """The short form, on a session of a variant that is open already: golden images, twice, and one of them alone.

    Raises:
        ArtifactError: a gate failed; its code is the error's.
    """
    options = _kept_to(artifact.manifest, read_certificate(artifact).options)
    run = partial(_run_all, session)
    for gate in gates_at_start(artifact.manifest, read_golden(artifact), run, options, variant, provider):
        if gate.failed:
            raise ArtifactError(f"{artifact.directory}: {gate.complaint()}", code=gate.code)


def gates_at_start(
    manifest: Manifest,
    stored: tuple[Case, Array],
    run: Callable[[Cases], Results],
    options: Options,
    variant: str,
    provider: Provider,
) -> list[Gate]:
    """The gates of the short form.

    Args:
        manifest: the artifact's.
        stored: golden images, as `unpack_golden` gives them.
        run: draws with the variant.
        options: the certificate's.
        variant: which graph.
        provider: what draws.
    """
    golden, pixels = stored
    cases = short_cases(golden)
    return judge(Evidence(manifest, cases, run(cases), Reference({"golden": pixels}), variant, provider), options)


def summarise(evidence: Evidence, options: Options) -> VariantCertificate:
    """Judge the evidence of one variant on one provider, and state the errors where it got far enough to have any."""
    gates = judge(evidence, options)
    cases, reference = evidence.cases, evidence.reference
    against32 = against64 = own = share = steps = None
    if any(gate.code == "finite" and gate.passed for gate in gates):
        against32 = evidence.errors("candidate", "float32")
        if reference.float64:
            against64, own = evidence.errors("candidate", "float64"), evidence.errors("float32", "float64")
        share, steps = evidence.uint8_difference()
    return VariantCertificate(
        variant=evidence.variant,
        provider=evidence.provider.title,
        images=sum(len(case.z) for case in cases.values()),
        compared=sum(len(cases[name].z) for name in reference.float32),
        batches=list(CERTIFIED_BATCHES),
        seeds=list(SEEDS),
        against_float32=against32,
        against_float64=against64,
        float32_against_float64=own,
        uint8_differing_share=share,
        uint8_max_difference=steps,
        gates=gates,
    )


def _run_all(session: Session, cases: Cases) -> Results:
    results: Results = {}
    for name, case in cases.items():
        try:
            results[name] = Result(*run_session(session, case.z, case.label, pixels=True))
        except Exception as error:  # noqa: BLE001 - ONNX Runtime raises a dozen unrelated types here
            nothing = case.z[:0]
            results[name] = Result(nothing, nothing, first_line(error))
    return results
