"""Which of an artifact's graphs is served, and by what: as was asked for, or the fastest that is near enough."""

from __future__ import annotations

import logging
import statistics
from typing import NamedTuple

from gan_export.artifact import Artifact, ArtifactError, Variant
from gan_export.artifact.certificate import Certificate, VariantCertificate
from gan_export.artifact.manifest import EXACT
from gan_export.artifact.measures import is_near
from gan_export.artifact.pixels import psnr_of
from gan_export.artifact.processor import adds_byte_products
from gan_export.artifact.providers import CPU, CUDA, PROVIDERS, Provider, is_usable
from gan_serving.settings import Settings

logger = logging.getLogger("bentoml.ganworks")


class GraphChoice(NamedTuple):
    """A graph, and what computes it."""

    variant: str
    provider: Provider

    def __str__(self) -> str:
        return self.variant if self.provider is CPU else f"{self.variant} with {self.provider.word}"


def choices_to_try(artifact: Artifact, certificate: Certificate, settings: Settings) -> list[GraphChoice]:
    """Ways to draw an artifact, the best first; one is tried when the one before can't be served on this host.

    Args:
        artifact: that is to be served.
        certificate: of that artifact.
        settings: of the service; `provider`, `variant` and `min_psnr` decide.

    Raises:
        ArtifactError: it has no variant of the name that was asked for, or is not certified on the GPU.
    """
    if settings.provider != "auto":
        provider = PROVIDERS[settings.provider]
        return [GraphChoice(name, provider) for name in variants_to_try(artifact, certificate, settings, provider)]
    ways: list[GraphChoice] = []
    providers = [CUDA, CPU] if is_usable(CUDA) else [CPU]
    for provider in providers:
        try:
            ways += [GraphChoice(name, provider) for name in variants_to_try(artifact, certificate, settings, provider)]
        except ArtifactError as error:
            if provider is providers[-1] and not ways:
                raise
            logger.warning("generator %s: %s is passed over: [%s] %s", artifact.name, provider.word, error.code, error)
    return ways


def variants_to_try(
    artifact: Artifact, certificate: Certificate, settings: Settings, provider: Provider = CPU
) -> list[str]:
    """Names of variants for one provider, the best first; as for `choices_to_try`."""
    found = {variant.name: variant for variant in artifact.manifest.variants}
    results = {result.variant: result for result in certificate.results if result.provider == provider.title}
    if settings.variant != "auto":
        _check_asked(settings.variant, artifact, list(found), provider)
        if provider is not CPU and settings.variant not in results:
            raise _uncertified(artifact, settings.variant, provider)
        return [settings.variant]
    near = [name for name in found if name in results and _is_near(results[name], provider, settings.min_psnr)]
    if not near:
        raise _uncertified(artifact, EXACT, provider)
    if provider is not CPU:
        # An export makes another variant for GPUs only where it is faster there; the rates of fp32 are a processor's.
        return sorted(near, key=lambda name: name == EXACT)
    return sorted(near, key=lambda name: (not _speed_holds(found[name]), -_speed(found[name])))


def _check_asked(variant: str, artifact: Artifact, found: list[str], provider: Provider) -> None:
    if variant not in found:
        has = f"{artifact.directory}: has no variant {variant!r}, which GAN_VARIANT asks for; it has {', '.join(found)}"
        if variant == EXACT:
            raise ArtifactError(f"{has}: every export makes {EXACT}, so it is damaged: export it again", code="variant")
        raise ArtifactError(
            f"{has}: export it with --variants {EXACT},{variant}, or set GAN_VARIANT=auto", code="variant"
        )
    if variant not in provider.variants:
        raise ArtifactError(
            f"{artifact.directory}: {provider.word} does not draw {variant!r}, which GAN_VARIANT asks for, but "
            f"{' and '.join(provider.variants)}",
            code="variant",
        )


def _uncertified(artifact: Artifact, variant: str, provider: Provider) -> ArtifactError:
    return ArtifactError(
        f"{artifact.directory}: its {variant} is not certified on {provider.title}; on this host, run "
        f"gan-verify {artifact.directory} --provider {provider.word} --add",
        code="certificate",
    )


def result_of(certificate: Certificate, variant: str, provider: Provider = CPU) -> VariantCertificate | None:
    """What was measured of a variant on a provider; None: nothing was, and GAN_VARIANT asks for it all the same."""
    wanted = (variant, provider.title)
    return next((result for result in certificate.results if (result.variant, result.provider) == wanted), None)


def _is_near(result: VariantCertificate, provider: Provider, min_psnr: float) -> bool:
    if not is_near(result.variant, provider):
        return True
    errors = [gate.measured for gate in result.gates if gate.code == "psnr"]
    passed = bool(errors) and not any(gate.failed for gate in result.gates)
    return passed and psnr_of(errors[0]) >= min_psnr


def _speed_holds(variant: Variant) -> bool:
    """Whether its rates, which are the exporting host's, say on this host too that it is the faster one.

    Measured again here they would differ from worker to worker, and the images of a seed with them; what the processor
    can do is the same for all. An export that kept int8 without instructions for it found it faster all the same.
    """
    return variant.name == EXACT or variant.byte_products is False or adds_byte_products() is not False


def _speed(variant: Variant) -> float:
    """Geometric mean of the rates on the exporting host; 0 if they are not known."""
    rates = [rate for rate in variant.images_per_second.values() if rate > 0]
    return statistics.geometric_mean(rates) if rates else 0.0
