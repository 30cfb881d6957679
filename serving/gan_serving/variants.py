"""Which of an artifact's graphs is served: the one that was asked for, or the fastest whose images are near enough."""

from __future__ import annotations

import math

from gan_export.artifact import Artifact, ArtifactError, Variant
from gan_export.artifact.certificate import Certificate, VariantCertificate
from gan_export.artifact.gates import EXACT, psnr_of

from .settings import Settings


def variants_to_try(artifact: Artifact, certificate: Certificate, settings: Settings) -> list[str]:
    """Names of variants, the best first; one is tried when the one before can't be served on this host.

    Args:
        artifact: that is to be served.
        certificate: of that artifact.
        settings: of the service; `variant` and `min_psnr` decide.

    Raises:
        ArtifactError: it has no variant of the name that was asked for.
    """
    found = {variant.name: variant for variant in artifact.manifest.variants}
    if settings.variant != "auto":
        if settings.variant not in found:
            raise ArtifactError(
                "variant",
                f"{artifact.directory}: has no variant {settings.variant!r}, which GAN_VARIANT asks for; it has "
                f"{', '.join(found)}: export it with --variants fp32,{settings.variant}, or set GAN_VARIANT=auto",
            )
        return [settings.variant]
    results = {result.variant: result for result in certificate.results}
    near = [name for name in found if name in results and _is_near(results[name], settings.min_psnr)]
    return sorted(near, key=lambda name: -_speed(found[name]))


def result_of(certificate: Certificate, variant: str) -> VariantCertificate:
    """What was measured of a variant; of the first one if nothing was of that one."""
    return next((result for result in certificate.results if result.variant == variant), certificate.results[0])


def _is_near(result: VariantCertificate, min_psnr: float) -> bool:
    if result.variant == EXACT:
        return True
    errors = [gate.measured for gate in result.gates if gate.code == "psnr"]
    passed = bool(errors) and not any(gate.failed for gate in result.gates)
    return passed and psnr_of(errors[0]) >= min_psnr


def _speed(variant: Variant) -> float:
    """Geometric mean of the rates on the exporting host; 0 if they are not known."""
    rates = [rate for rate in variant.images_per_second.values() if rate > 0]
    return math.exp(sum(map(math.log, rates)) / len(rates)) if rates else 0.0
