"""The graph files of an artifact: sealed, written, certified; int8 only where it pays on this host."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import geometric_mean
from typing import Final

import onnx

from gan_export.artifact import MANIFEST_FILE, LatentSpec, Manifest, Variant
from gan_export.artifact.candidate import CertificationError, Results, Speeds, run_candidate
from gan_export.artifact.cases import Cases
from gan_export.artifact.certificate import Gate, Options, VariantCertificate
from gan_export.artifact.evidence import Reference
from gan_export.artifact.first_line import first_line
from gan_export.artifact.golden import GOLDEN_FILE, unpack_golden
from gan_export.artifact.manifest import EXACT
from gan_export.artifact.processor import adds_byte_products
from gan_export.artifact.providers import CPU, Provider
from gan_export.artifact.verify import gates_at_start
from gan_export.capture import seal
from gan_export.certify import certify_variant
from gan_export.quantize import QuantizationError, quantize
from gan_export.tuning import GRAPH_ERRORS, TIMED_BATCHES, RewrittenGraph, feed_of, open_graph, simplified, speedups

ONNX_FILE: Final = "generator.onnx"
"""The exact variant's graph."""
INT8: Final = "int8"
FP16: Final = "fp16"
"""For GPUs."""
VARIANTS: Final = (EXACT, INT8, FP16)
SPREAD: Final = 1.5  # of the rates of one graph and batch size: more is the host's doing
PAYS: Final = 1.15  # times fp32's speed, in the mean over the batches: for less, nobody should get other pixels


class LeftOutError(RuntimeError):
    """What an artifact goes without, such as a variant or a provider; the message is one sentence for its notes."""


@dataclass(frozen=True)
class Made:
    """A variant in its file, and its certificate."""

    variant: Variant
    result: VariantCertificate
    spread: float = 1.0  # of its speed between turns


@dataclass(frozen=True)
class Certifier:
    """What every variant of an export is measured with."""

    staging: Path
    cases: Cases
    reference: Reference
    options: Options

    def certify(
        self,
        manifest: Manifest,
        name: str,
        graph: RewrittenGraph,
        before: Sequence[Made] = (),
        provider: Provider = CPU,
    ) -> Made:
        """Write a variant's file beside those that were made before, and measure it.

        Raises:
            CertificationError: it could not be run at all.
        """
        content = seal(graph.model, manifest.identity())
        file = file_of(name)
        (self.staging / file).write_bytes(content)
        digest = hashlib.sha256(content).hexdigest()
        variant = Variant(
            name=name,
            file=file,
            sha256=digest,
            images_per_second={},
            byte_products=adds_byte_products(),
            rewrites=graph.rewrites,
        )
        listed = [*(made.variant for made in before), variant]
        result, speeds = self._measure(with_variants(manifest, listed), name, provider)
        rates = {batch: rate for batch, rate in speeds.rates.items() if rate > 0}
        return Made(variant.model_copy(update={"images_per_second": rates}), result, speeds.spread)

    def certify_optional(
        self, manifest: Manifest, name: str, graph: RewrittenGraph, before: Sequence[Made], provider: Provider = CPU
    ) -> Made:
        """The same for a variant that an artifact can do without; `before` begins with the exact one.

        Raises:
            LeftOutError: it can't be run, or a gate failed; its file is gone.
        """
        try:
            made = self.certify(manifest, name, graph, before, provider)
            failed, where = first_failed(made.result.gates, before[0]), ""
            if failed is None:
                found = with_variants(manifest, [*(each.variant for each in before), made.variant])
                failed = first_failed(self._gates_at_start(found, name, provider), before[0])
                where = " This was on the golden images, which a service checks when it starts."
        except CertificationError as error:
            (self.staging / file_of(name)).unlink()
            raise LeftOutError(f"{name} is left out: it can't be run: {error}.") from error
        if failed is not None:
            self.forget(made)
            raise LeftOutError(f"{name} is left out: it {failed.complaint()}.{where}")
        return made

    def _gates_at_start(self, manifest: Manifest, name: str, provider: Provider) -> list[Gate]:
        """Those of the short certificate: what passes here is refused by no service on this host."""
        golden = unpack_golden((self.staging / GOLDEN_FILE).read_bytes(), manifest)

        def run(cases: Cases) -> Results:
            return run_candidate(self.staging, name, cases, provider)[0]

        return gates_at_start(manifest, golden, run, self.options, name, provider)

    def measure(
        self, manifest: Manifest, name: str, provider: Provider, made: Sequence[Made]
    ) -> tuple[VariantCertificate, dict[str, float]]:
        """Measure a variant that is among those made with another provider; returns the rates by batch size too.

        Raises:
            CertificationError: it could not be run at all.
        """
        result, speeds = self._measure(with_variants(manifest, [each.variant for each in made]), name, provider)
        return result, speeds.rates

    def _measure(self, whole: Manifest, name: str, provider: Provider) -> tuple[VariantCertificate, Speeds]:
        (self.staging / MANIFEST_FILE).write_text(whole.to_json())
        return certify_variant(self.staging, whole, name, self.cases, self.reference, self.options, provider)

    def forget(self, made: Made) -> None:
        """Take a variant's file away again."""
        (self.staging / made.variant.file).unlink()


def file_of(variant: str) -> str:
    """The name of a variant's graph in an artifact."""
    return ONNX_FILE if variant == EXACT else f"generator.{variant}.onnx"


def with_variants(manifest: Manifest, variants: Sequence[Variant]) -> Manifest:
    """A manifest of these files; its identity stays."""
    listed = {"variants": [variant.model_dump() for variant in variants]}
    return Manifest.model_validate(manifest.model_dump(exclude={"variants"}) | listed)


def add_int8(
    certifier: Certifier,
    manifest: Manifest,
    traced: onnx.ModelProto,
    exact: onnx.ModelProto,
    made: Made,
    progress: Callable[[str], None],
    *,
    portable: bool = False,
) -> Made:
    """The int8 variant.

    Args:
        certifier: the one of the exact variant.
        manifest: of the artifact.
        traced: the graph as it was captured.
        exact: the graph of the exact variant, with which its speed is compared.
        made: the exact variant.
        progress: told in a few words what is being done.
        portable: whether its graph must not depend on how fast this host is.

    Raises:
        LeftOutError: there is none.
    """
    latent, classes = manifest.latent, manifest.classes
    try:
        found = quantize(simplified(traced).model, latent, classes, progress, portable=portable)
        progress("comparing the speed of int8")
        ratios = _ratios(exact, found.model, latent, classes)
    except QuantizationError as error:
        raise LeftOutError(f"int8 is left out: {error}.") from error
    except GRAPH_ERRORS as error:
        raise LeftOutError(f"int8 is left out: ONNX Runtime can't run it: {first_line(error)}.") from error
    if geometric_mean(ratios) < PAYS:
        words = ", ".join(f"{ratio:.2f}x at batch {batch}" for batch, ratio in zip(TIMED_BATCHES, ratios, strict=True))
        raise LeftOutError(
            f"int8 is left out: it is not faster than fp32 on this host ({words}); a processor with VNNI would help."
        )
    return certifier.certify_optional(manifest, INT8, RewrittenGraph(found.model, found.rewrites), [made])


def unsteady(made: Sequence[Made]) -> list[str]:
    """A sentence on each variant whose speed differed much between turns."""
    return [
        f"{each.variant.name}: its images/s differed by a factor of {each.spread:.1f} between turns: something else "
        "ran on this host, and the rates, which GAN_VARIANT=auto goes by, may be too low."
        for each in made
        if each.spread > SPREAD
    ]


def first_failed(gates: Sequence[Gate], exact: Made) -> Gate | None:
    """The first gate that failed, or that was let through and passed for the exact variant on the processor: the
    manifest's promises are that one's."""
    allowed = {gate.code for gate in exact.result.gates if gate.allowed}
    return next((gate for gate in gates if gate.failed or (gate.allowed and gate.code not in allowed)), None)


def _ratios(exact: onnx.ModelProto, other: onnx.ModelProto, latent: LatentSpec, classes: int) -> list[float]:
    feeds = [feed_of(latent, classes, batch) for batch in TIMED_BATCHES]
    return speedups(open_graph(exact), open_graph(other), feeds)
