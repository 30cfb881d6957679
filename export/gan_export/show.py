"""A certificate on the terminal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from .artifact.certificate import Certificate, Gate, VariantCertificate
from .artifact.gates import rules_of
from .artifact.pixels import psnr_of
from .artifact.providers import CPU, provider_titled


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
    near = next((gate for gate in result.gates if gate.code == "psnr"), None)
    without = "" if near is None else f"; without the latents' tails the PSNR is {psnr_of(near.measured):.1f} dB"
    return (
        f"{title_of(result)}: {result.compared} images differ from {reference} by at most {errors.max_abs:.2e} "
        f"({errors.mean_abs:.2e} on average), {result.uint8_differing_share:.4%} of uint8 pixels by "
        f"{result.uint8_max_difference} at most{without}"
    )


def _verdict(gate: Gate) -> str:
    return "ok" if gate.passed else "allowed" if gate.allowed else "FAILED"
