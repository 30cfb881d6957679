"""What is made for other providers than ONNX Runtime on the processor: the exact graph's certificates, and for GPUs its
variant in float16, where that pays."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from statistics import geometric_mean

import onnx

from gan_export.artifact import Manifest
from gan_export.artifact.candidate import CertificationError
from gan_export.artifact.certificate import VariantCertificate
from gan_export.artifact.first_line import first_line
from gan_export.artifact.manifest import EXACT
from gan_export.artifact.providers import CUDA, Provider
from gan_export.half import HalfError, half
from gan_export.tuning import GRAPH_ERRORS, RewrittenGraph, simplified, split

from .variants import FP16, PAYS, Certifier, LeftOutError, Made, first_failed


@dataclass(frozen=True)
class ExactOnProvider:
    """The exact variant on another provider."""

    result: VariantCertificate
    images_per_second: dict[str, float]  # by batch size


@dataclass
class ProviderResults:
    """All that other providers add to an artifact."""

    made: list[Made] = field(default_factory=list)
    results: list[VariantCertificate] = field(default_factory=list)  # of the exact variant
    notes: list[str] = field(default_factory=list)  # on what is left out, and how fast the rest is


def certify_other_providers(
    certifier: Certifier,
    manifest: Manifest,
    traced: onnx.ModelProto,
    before: Sequence[Made],
    providers: Sequence[Provider],
    variants: Collection[str],
    progress: Callable[[str], None],
) -> ProviderResults:
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
    found = ProviderResults()
    for provider in providers:
        progress(f"comparing the file with the original generator, with {provider.word}")
        exact = None
        try:
            exact = measure_exact(certifier, manifest, provider, before[0])
            found.results.append(exact.result)
            found.notes.append(speed_on(provider, exact.images_per_second, before[0].variant.images_per_second))
        except LeftOutError as error:
            found.notes.append(str(error))
        if provider is CUDA and FP16 in variants:
            try:
                found.made.append(add_fp16(certifier, manifest, traced, before, exact, progress))
            except LeftOutError as error:
                found.notes.append(str(error))
    return found


def measure_exact(certifier: Certifier, manifest: Manifest, provider: Provider, exact: Made) -> ExactOnProvider:
    """The exact variant's certificate on a provider.

    Args:
        certifier: the one of the exact variant.
        manifest: of the artifact.
        provider: another one than the processor's own.
        exact: that variant, in its file.

    Raises:
        LeftOutError: it can't be run there, or a gate failed.
    """
    try:
        result, rates = certifier.measure(manifest, EXACT, provider, [exact])
    except CertificationError as error:
        raise LeftOutError(f"{provider.word} is left out: {EXACT} can't be run on it: {error}.") from error
    failed = first_failed(result.gates, exact)
    if failed is not None:
        raise LeftOutError(f"{provider.word} is left out: on it, {EXACT} {failed.complaint()}.")
    return ExactOnProvider(result, rates)


def add_fp16(
    certifier: Certifier,
    manifest: Manifest,
    traced: onnx.ModelProto,
    before: Sequence[Made],
    exact: ExactOnProvider | None,
    progress: Callable[[str], None],
) -> Made:
    """The variant in float16, certified on CUDA.

    Args:
        certifier: the one of the exact variant.
        manifest: of the artifact.
        traced: the graph as it was captured.
        before: the variants that were made already, the exact one first.
        exact: that one on CUDA, with which the speed is compared; None if it is not certified there.
        progress: told in a few words what is being done.

    Raises:
        LeftOutError: there is none.
    """
    try:
        plain = split(simplified(traced))
        graph = RewrittenGraph(half(plain.model), plain.rewrites)
    except HalfError as error:
        raise LeftOutError(f"{FP16} is left out: {error}.") from error
    except GRAPH_ERRORS as error:
        raise LeftOutError(f"{FP16} is left out: ONNX Runtime can't run it: {first_line(error)}.") from error
    progress(f"comparing {FP16} with the original generator")
    made = certifier.certify_optional(manifest, FP16, graph, before, CUDA)
    if exact is None:
        return made
    ratios = rate_ratios(made.variant.images_per_second, exact.images_per_second)
    if not ratios or geometric_mean(ratios) < PAYS:
        certifier.forget(made)
        words = ", ".join(f"{ratio:.2f}x" for ratio in ratios)
        raise LeftOutError(f"{FP16} is left out: it is not faster than {EXACT} on this GPU ({words}).")
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
    beside = f", {ratios} the speed of ONNX Runtime on the processor" if ratios else ""
    return f"{provider.word}: {EXACT}: images/s: {', '.join(told)}{beside}."


def rate_ratios(rates: dict[str, float], others: dict[str, float]) -> list[float]:
    """How many times as fast, at each batch size that both have."""
    return [rate / others[batch] for batch, rate in rates.items() if rate > 0 and others.get(batch, 0) > 0]
