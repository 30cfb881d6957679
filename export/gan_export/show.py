"""A certificate on the terminal."""

from __future__ import annotations

from typing import Final

from rich.console import Console
from rich.table import Table

from .artifact.certificate import Certificate, Gate, VariantCertificate
from .artifact.gates import rules_of
from .artifact.measures import VISIBLE
from .artifact.pixels import psnr_of
from .artifact.providers import CPU, provider_titled

LEAST_SHARE: Final = 1e-6  # that can be told from 0 in what is printed


def show_certificate(certificate: Certificate, console: Console) -> None:
    """All gates of all variants, and the errors in a sentence each."""
    table = Table("variant", "gate", "", "measured", "limit", "unit", box=None, pad_edge=False)
    for result in certificate.results:
        for gate in result.gates:
            measured = f"{gate.measured:.3g}"
            table.add_row(title_of(result), gate.code, _verdict(gate), measured, f"{gate.limit:g}", gate.unit)
        judged = {gate.code for gate in result.gates}
        if any(gate.failed for gate in result.gates):
            for rule in rules_of(result.variant, provider_titled(result.provider) or CPU):
                if rule.code not in judged:
                    table.add_row(title_of(result), rule.code, "not judged", "", "", rule.unit, style="dim")
    console.print(table)
    for result in certificate.results:
        console.print(sentence(result, certificate.reference), highlight=False, soft_wrap=True)


def title_of(result: VariantCertificate) -> str:
    """The variant, and what draws it where that is not the processor."""
    provider = provider_titled(result.provider)
    word = result.provider if provider is None else provider.word
    return result.variant if provider is CPU else f"{result.variant}, {word}"


def sentence(result: VariantCertificate, reference: str) -> str:
    """How far a variant is from its reference."""
    errors = result.against_float32
    if errors is None:
        return (
            f"{title_of(result)}: {result.images} images drawn with {result.provider}; their errors can't be measured"
        )
    judged = {gate.code: gate.measured for gate in result.gates}
    if "psnr" in judged and "visible" in judged:
        return (
            f"{title_of(result)}: compared with {reference}, the PSNR is {psnr_of(judged['psnr']):.1f} dB, and "
            f"{share_of(judged['visible'])} of the uint8 pixels differ by more than {VISIBLE}; the certificate has the "
            "errors in the latents' tails too"
        )
    share = share_of(result.uint8_differing_share or 0.0)
    by = f", by {result.uint8_max_difference} at most" if result.uint8_max_difference else ""
    return (
        f"{title_of(result)}: {result.compared} images differ from {reference} by at most {errors.max_abs:.2e} "
        f"({errors.mean_abs:.2e} on average); {share} of the uint8 pixels differ{by}"
    )


def share_of(share: float) -> str:
    """A share of uint8 pixels in words, of which a few must not look like none."""
    return "none" if share == 0 else f"{share:.4%}" if share >= LEAST_SHARE else f"less than {LEAST_SHARE:.4%}"


def _verdict(gate: Gate) -> str:
    return "ok" if gate.passed else "allowed" if gate.allowed else "FAILED"
