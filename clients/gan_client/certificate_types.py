"""The wire contract of a certificate, in short as `/models` has it and whole as `/models/{name}` does."""

from __future__ import annotations

from typing import Any

from ._wire import Answer, Description


class CertificateSummary(Answer):
    """What was measured when a generator was exported, and checked again in short when the service loaded it."""

    reference: str
    """What its images were compared with."""

    images: int
    """How many images were compared."""

    max_abs_error: float | None
    """Largest absolute difference of a pixel on [-1, 1]; null if it was not measured."""

    gates: list[str]
    """Codes of the gates that it passed."""

    allowed: list[str]
    """Codes of the gates that it did not pass and that whoever exported it let through; usually empty."""


class ErrorsDetail(Description):
    """Differences of pixels on [-1, 1] from a reference."""

    max_abs: float | None
    """Largest absolute difference; null if it is not a finite number, as below."""

    mean_abs: float | None
    """Mean absolute difference."""

    p999_abs: float | None
    """99.9th percentile of the absolute differences."""

    psnr_db: float | None
    """Peak signal-to-noise ratio in decibels; null if there is no difference at all."""


class GateDetail(Description):
    """One check of a certificate."""

    code: str
    """Stable name of the gate."""

    passed: bool
    """Whether it was passed."""

    allowed: bool = False
    """Whether whoever exported let it through although it was not passed."""

    measured: float | None
    """What was measured, in `unit`; null if it is not a finite number."""

    limit: float
    """The bound that `measured` was held against, in `unit`."""

    unit: str
    """What `measured` and `limit` count."""

    what: str
    """One sentence: what was checked."""

    advice: str
    """What is likely wrong when it fails, and what to do."""


class ResultDetail(Description):
    """What was measured of one variant with one provider."""

    variant: str
    """Name of the variant."""

    provider: str
    """ONNX Runtime's name of what ran it, e.g. `CPUExecutionProvider`."""

    images: int
    """How many images were drawn."""

    compared: int
    """How many of them were compared with the reference."""

    batches: list[int]
    """Batch sizes that were tried."""

    seeds: list[int]
    """First seeds of the latents."""

    against_float32: ErrorsDetail | None
    """Differences from the reference in float32; null if it did not come so far."""

    against_float64: ErrorsDetail | None
    """Differences from the reference in float64; null if there is none."""

    float32_against_float64: ErrorsDetail | None
    """The reference's own rounding, to compare with; null if there is none."""

    uint8_differing_share: float | None
    """Share of the 8-bit values that differ from the reference's, 0 to 1; null if not measured."""

    uint8_max_difference: int | None
    """Largest difference of an 8-bit value, 0 to 255; null if not measured."""

    gates: list[GateDetail]
    """The gates in their order."""


class CertificateDetail(Description):
    """The whole certificate: what was measured when the generator was exported."""

    schema_version: int
    """Of the certificate: 1."""

    manifest_identity: str
    """Digest of the manifest that it belongs to, 64 hexadecimal digits."""

    reference: str
    """What its images were compared with."""

    options: dict[str, Any]
    """What whoever exported chose, e.g. the tolerance."""

    results: list[ResultDetail]
    """One for each variant."""

    variants_sha256: str | None = None
    """Digest of the manifest's variants that it is of, 64 hexadecimal digits; None in older artifacts."""

    sha256: str | None = None
    """Digest of all the rest, 64 hexadecimal digits."""
