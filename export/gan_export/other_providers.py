"""What is made for other providers than ONNX Runtime on the processor: the exact graph's certificates, and for GPUs its
variant in float16, where that pays."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from statistics import geometric_mean

import onnx

from .artifact import Manifest
from .artifact.candidate import CertificationError
from .artifact.certificate import VariantCertificate
from .artifact.manifest import EXACT
from .artifact.providers import CUDA, Provider
from .half import HalfError, half
from .tuning import Tuned, simplified, split
from .variants import FP16, PAYS, Certifier, Made, first_failed


@dataclass(frozen=True)
class Measured:
    """The exact variant on another provider."""

    result: VariantCertificate
    images_per_second: dict[str, float]  # by batch size


@dataclass
class Elsewhere:
    """All that other providers add to an artifact."""

    made: list[Made] = field(default_factory=list)
    results: list[VariantCertificate] = field(default_factory=list)  # of the exact variant
    notes: list[str] = field(default_factory=list)  # on what is left out, and how fast the rest is


def make_for_others(
    certifier: Certifier,
    manifest: Manifest,
    traced: onnx.ModelProto,
    before: Sequence[Made],
    providers: Sequence[Provider],
    variants: Collection[str],
    progress: Callable[[str], None],
) -> Elsewhere:
    """The exact variant's certificate on each provider, and the variant in float16 if it is among `variants`.

    Args:
        certifier: the one of the exact variant.
        manifest: of the artifact.
        traced: the graph as it was captured.
        before: the variants that were made already, the exact one first.
        providers: which are there.
        variants: what was asked for.
        progress: told in a few words what is being done.
    """
    found = Elsewhere()
    for provider in providers:
        progress(f"comparing the file with the original generator, with {provider.word}")
        exact = measure_exact(certifier, manifest, provider, before[0])
        if isinstance(exact, str):
            found.notes.append(exact)
        else:
            found.results.append(exact.result)
            found.notes.append(speed_on(provider, exact.images_per_second, before[0].variant.images_per_second))
        if provider is CUDA and FP16 in variants:
            compared = None if isinstance(exact, str) else exact
            fp16 = add_fp16(certifier, manifest, traced, before, compared, progress)
            if isinstance(fp16, str):
                found.notes.append(fp16)
            else:
                found.made.append(fp16)
    return found


def measure_exact(certifier: Certifier, manifest: Manifest, provider: Provider, exact: Made) -> Measured | str:
    """The exact variant's certificate on a provider, or one sentence that says why there is none.

    Args:
        certifier: the one of the exact variant.
        manifest: of the artifact.
        provider: another one than the processor's own.
        exact: that variant, in its file.
    """
    try:
        result, rates = certifier.measure(manifest, EXACT, provider, [exact])
    except CertificationError as error:
        return f"{provider.word} is left out: on it, {EXACT} can't be run: {error}."
    failed = first_failed(result.gates, exact)
    if failed is not None:
        return f"{provider.word} is left out: on it, {EXACT} {failed.complaint()}."
    return Measured(result, rates)


def add_fp16(
    certifier: Certifier,
    manifest: Manifest,
    traced: onnx.ModelProto,
    before: Sequence[Made],
    exact: Measured | None,
    progress: Callable[[str], None],
) -> Made | str:
    """The variant in float16, certified on CUDA, or one sentence that says why there is none.

    Args:
        certifier: the one of the exact variant.
        manifest: of the artifact.
        traced: the graph as it was captured.
        before: the variants that were made already, the exact one first.
        exact: that one on CUDA, with which the speed is compared; None if it is not certified there.
        progress: told in a few words what is being done.
    """
    plain = split(simplified(traced))
    try:
        graph = Tuned(half(plain.model), plain.rewrites)
    except HalfError as error:
        return f"{FP16} is left out: {error}."
    progress(f"comparing {FP16} with the original generator")
    made = certifier.try_to_certify(manifest, FP16, graph, before, CUDA)
    if isinstance(made, str) or exact is None:
        return made
    ratios = rate_ratios(made.variant.images_per_second, exact.images_per_second)
    if not ratios or geometric_mean(ratios) < PAYS:
        certifier.forget(made)
        words = ", ".join(f"{ratio:.2f}x" for ratio in ratios)
        return f"{FP16} is left out: it is no faster than {EXACT} on this GPU ({words})."
    return made


def speed_on(provider: Provider, rates: dict[str, float], on_processor: dict[str, float]) -> str:
    """One sentence on how fast the exact variant is there, beside ONNX Runtime on the processor.

    Args:
        provider: another one than the processor's own.
        rates: images per second there, by batch size.
        on_processor: the same of the processor's own.
    """
    told = [f"{rate:,.0f} at batch {batch}" for batch, rate in rates.items()]
    ratios = " and ".join(f"{ratio:.2f}x" for ratio in rate_ratios(rates, on_processor))
    beside = f", {ratios} of those by ONNX Runtime on the processor" if ratios else ""
    return f"{provider.word}: {EXACT}: images/s: {', '.join(told)}{beside}."


def rate_ratios(rates: dict[str, float], others: dict[str, float]) -> list[float]:
    """How many times as fast, at each batch size that both have."""
    return [rate / others[batch] for batch, rate in rates.items() if rate > 0 and others.get(batch, 0) > 0]
