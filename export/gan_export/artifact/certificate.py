"""certificate.json: what was measured when the artifact was made, and which gates it passed."""

from __future__ import annotations

import json
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field

from ._model import Strict, digest_of

TOLERANCE: Final = 1e-4  # largest absolute error of pixels on [-1, 1]


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("use printable characters")
    return text


Line = Annotated[str, AfterValidator(_printable)]


class Gate(Strict):
    """One check: `code` is stable, `measured` and `limit` are in the unit that `unit` names."""

    code: Line
    passed: bool
    allowed: bool = False  # it did not pass, and whoever exported said that it need not
    measured: float
    limit: float
    unit: str
    what: str  # one sentence: what was checked
    advice: str  # what is likely wrong when it fails, and what to do

    @property
    def failed(self) -> bool:
        return not self.passed and not self.allowed

    def complaint(self) -> str:
        """Why it failed, in one line."""
        return (
            f"failed the gate {self.code!r}: {self.what}; measured {self.measured:.6g} {self.unit}, "
            f"the limit is {self.limit:g}. Likely cause: {self.advice}"
        )


class Errors(Strict):
    """Differences of the float output on [-1, 1] against a reference."""

    max_abs: float
    mean_abs: float
    p999_abs: float  # 99.9th percentile
    psnr_db: float | None  # None: no difference at all


class Options(Strict):
    """What whoever exported chose."""

    tolerance: Annotated[float, Field(gt=0, le=2)] = TOLERANCE
    allowed: tuple[str, ...] = ()  # codes of gates that need not pass


class VariantCertificate(Strict):
    """Measurements of one variant with one provider."""

    variant: Line
    provider: Line
    images: int  # how many were drawn
    compared: int  # how many of them were compared with the reference
    batches: list[int]
    seeds: list[int]
    against_float32: Errors | None  # candidate - reference in float32; None: it did not come so far
    against_float64: Errors | None  # candidate - reference in float64; None: there is none
    float32_against_float64: Errors | None  # the reference's own rounding, to compare with
    uint8_differing_share: float | None  # of all uint8 pixels
    uint8_max_difference: int | None
    gates: list[Gate]  # in their order, up to the first that failed


class Certificate(Strict):
    """Schema version 1 of certificate.json."""

    schema_version: Literal[1] = 1
    manifest_identity: str
    reference: Line
    options: Options
    results: list[VariantCertificate]
    variants_sha256: str | None = None
    """`Manifest.variants_digest()` of the variants that were certified; None in older artifacts."""
    sha256: str | None = None
    """Of all the rest, in the file: one that was changed afterwards is not believed."""

    def sealed(self) -> Certificate:
        """With its digest."""
        return self.model_copy(update={"sha256": self.digest()})

    def digest(self) -> str:
        """What `sha256` must be."""
        # Certificates that were sealed before they named the variants have to keep their digest.
        absent = {"variants_sha256"} if self.variants_sha256 is None else set()
        content = self.model_dump(mode="json", exclude={"sha256"} | absent)
        return digest_of(content)

    @property
    def failures(self) -> list[tuple[str, Gate]]:
        """Variant and gate, for all gates that failed."""
        return [(result.variant, gate) for result in self.results for gate in result.gates if gate.failed]

    def passing(self) -> Certificate:
        """With those results alone whose gates all passed or were let through."""
        passed = [result for result in self.results if not any(gate.failed for gate in result.gates)]
        return self.model_copy(update={"results": passed})

    @property
    def allowed(self) -> list[str]:
        """Codes of the gates that did not pass and were let through."""
        return sorted({gate.code for result in self.results for gate in result.gates if gate.allowed})

    def to_json(self) -> str:
        return json.dumps(self.sealed().model_dump(mode="json"), indent=2) + "\n"
