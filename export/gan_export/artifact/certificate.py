"""certificate.json: what was measured when the artifact was made, and which gates it passed."""

from __future__ import annotations

import json
from typing import Literal

from pydantic import BaseModel, ConfigDict


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Gate(_Strict):
    """One check: `code` is stable, `measured` and `limit` are in the unit that `unit` names."""

    code: str
    passed: bool
    measured: float
    limit: float
    unit: str
    what: str  # one sentence: what was checked
    advice: str  # what is likely wrong when it fails, and what to do


class Errors(_Strict):
    """Differences of the float output on [-1, 1] against a reference."""

    max_abs: float
    mean_abs: float
    p999_abs: float  # 99.9th percentile
    psnr_db: float | None  # None: no difference at all


class VariantCertificate(_Strict):
    """Measurements of one variant with one provider."""

    variant: str
    provider: str
    images: int  # how many were compared
    batches: list[int]
    seeds: list[int]
    against_float32: Errors  # candidate - eager PyTorch in float32
    against_float64: Errors  # candidate - eager PyTorch in float64
    float32_against_float64: Errors  # eager PyTorch's own rounding, to compare with
    uint8_differing_share: float  # of all uint8 pixels
    uint8_max_difference: int
    gates: list[Gate]


class Certificate(_Strict):
    """Schema version 1 of certificate.json."""

    schema_version: Literal[1] = 1
    manifest_identity: str
    reference: str
    results: list[VariantCertificate]

    @property
    def failures(self) -> list[Gate]:
        """The gates that did not pass, of all variants."""
        return [gate for result in self.results for gate in result.gates if not gate.passed]

    def to_json(self) -> str:
        return json.dumps(self.model_dump(mode="json"), indent=2) + "\n"
