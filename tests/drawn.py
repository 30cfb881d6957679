"""A generator written in NumPy, and the evidence of it, which the gates of a certificate look at and tests change."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from toy_artifact import toy_manifest

from gan_export.artifact import Manifest
from gan_export.artifact.candidate import Result
from gan_export.artifact.cases import Case, make_cases
from gan_export.artifact.certificate import Gate, Options
from gan_export.artifact.evidence import Evidence, Reference
from gan_export.artifact.gates import RULES, judge, rules_of
from gan_export.artifact.pixels import to_uint8
from gan_export.artifact.providers import CPU, Provider

DIM, SIZE, CLASSES = 5, 6, 3
EXACT, NEAR = "fp32", "int8"
FIRST = "seed0_batch64"  # of the cases: 64 images whose latents may be drawn
LEFT_OUT = ("tails", "moved0")  # of what near variants are compared in

Edit = Callable[[np.ndarray], Any]


@dataclass(frozen=True)
class Drawn:
    """A generator written in NumPy, and what it draws of all cases: pixels well inside of [-1, 1]."""

    manifest: Manifest
    weights: np.ndarray
    embeddings: np.ndarray

    def pixels(self, case: Case) -> np.ndarray:
        """(N, 1, SIZE, SIZE) in float64, each image for itself."""
        sums = (case.z[:, :, None].astype(np.float64) * self.weights).sum(1)
        if case.label is not None:
            sums = sums + self.embeddings[case.label]
        return 0.9 * np.tanh(sums).reshape(-1, 1, SIZE, SIZE)

    def evidence(self, variant: str = EXACT, provider: Provider = CPU) -> Evidence:
        cases = make_cases(self.manifest.latent, self.manifest.classes)
        exact = {name: self.pixels(case) for name, case in cases.items()}
        results = {name: result_of(pixels.astype(np.float32)) for name, pixels in exact.items()}
        compared = {name: pixels for name, pixels in exact.items() if cases[name].compared}
        float32 = {name: results[name].pixels.copy() for name in compared}
        return Evidence(self.manifest, cases, results, Reference(float32, compared), variant, provider)


def drawn_by(classes: int = CLASSES, distribution: str = "normal") -> Drawn:
    rng = np.random.default_rng(0)
    golden = io.BytesIO()
    np.savez(golden, z=np.zeros((1, DIM)))
    names = [f"class {i}" for i in range(classes)] or None
    manifest = toy_manifest("toy", golden.getvalue(), dim=DIM, size=SIZE, class_names=names)
    latent = manifest.latent.model_copy(update={"distribution": distribution})
    weights, embeddings = rng.normal(0, 0.7, (DIM, SIZE**2)), rng.normal(0, 0.7, (max(classes, 1), SIZE**2))
    return Drawn(manifest.model_copy(update={"latent": latent}), weights, embeddings)


def result_of(pixels: np.ndarray) -> Result:
    return Result(to_uint8(pixels), pixels)


def redrawn(evidence: Evidence, case: str, edit: Edit) -> Evidence:
    """With other pixels of a case: `edit` changes them in place, or returns others; the uint8 image follows them."""
    pixels = evidence.results[case].pixels.copy()
    changed = edit(pixels)
    made = result_of(pixels if changed is None else changed)
    return replace(evidence, results=evidence.results | {case: made})


def put(where: Any, value: float) -> Edit:
    """Set pixels to a value."""

    def edit(pixels: np.ndarray) -> None:
        pixels[where] = value

    return edit


def add(where: Any, value: float) -> Edit:
    """Add a value to pixels, whichever of the two signs keeps them in the range."""

    def edit(pixels: np.ndarray) -> None:
        pixels[where] -= np.float32(value) * np.sign(pixels[where])

    return edit


def gate_of(code: str, evidence: Evidence, options: Options | None = None) -> Gate | None:
    """One gate alone; None where there is nothing to judge."""
    rules = [rule for rule in (*RULES, *rules_of(NEAR)) if rule.code == code][:1]
    return next(iter(judge(evidence, options or Options(), rules)), None)


def passes(code: str, evidence: Evidence, options: Options | None = None) -> bool:
    gate = gate_of(code, evidence, options)
    assert gate is not None
    return gate.passed
