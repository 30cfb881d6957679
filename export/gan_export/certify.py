"""The certificate: how far the file on disk is from the eager module, and whether it behaves as it promises.

Nothing here needs torch: the reference comes as arrays or as a function.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from .artifact import Manifest
from .artifact.certificate import Certificate, Errors, Gate, VariantCertificate
from .artifact.runtime import PROVIDER
from .candidate import BATCHES, SEEDS, Array, Case, Result, lone_positions, make_cases, run_candidate

TOLERANCE: Final = 1e-4  # largest absolute error of pixels on [-1, 1]
ROUNDING_LIMIT: Final = 1  # uint8 steps: one rounding may fall on the other side
RANGE_SLACK: Final = 1e-6

Reference = Callable[[NDArray[np.float32], "NDArray[np.int64] | None"], tuple[Array, Array]]
"""(latents, labels) -> pixels of the eager module in float32 and in float64."""


def certify_variant(
    directory: Path, manifest: Manifest, variant: str, reference: Reference
) -> tuple[VariantCertificate, dict[str, float]]:
    """Compare one variant on disk with the reference; returns the measurements and the speeds by batch size."""
    cases = make_cases(manifest)
    results, speeds = run_candidate(directory, variant, cases)
    refused = {name: result.error for name, result in results.items() if result.error is not None}
    gates = [_gate_runs(refused)]
    if not refused:
        wanted = {name: reference(case.z, case.label) for name, case in cases.items()}
        gates += _signature_gates(manifest, cases, results)
    if all(gate.passed for gate in gates):
        compared = _Compared(results, wanted)
        # The first gate that fails is the one that is told, so causes stand before their effects.
        gates += [
            *_behaviour_gates(cases, results),
            *_value_gates(manifest, results),
            *compared.gates(),
            *_distinct_gates(manifest, results),
        ]
        errors = (compared.against32, compared.against64, compared.own)
        share, steps = compared.differing_share, compared.max_steps
    else:
        nothing = Errors(max_abs=float("inf"), mean_abs=float("inf"), p999_abs=float("inf"), psnr_db=None)
        errors, share, steps = (nothing, nothing, nothing), 1.0, 255
    certificate = VariantCertificate(
        variant=variant,
        provider=PROVIDER,
        images=sum(len(case.z) for case in cases.values()),
        batches=list(BATCHES),
        seeds=list(SEEDS),
        against_float32=errors[0],
        against_float64=errors[1],
        float32_against_float64=errors[2],
        uint8_differing_share=share,
        uint8_max_difference=steps,
        gates=gates,
    )
    return certificate, speeds


def certificate_of(manifest: Manifest, results: Sequence[VariantCertificate], reference: str) -> Certificate:
    """The document that is stored."""
    return Certificate(manifest_identity=manifest.identity(), reference=reference, results=list(results))


class _Compared:
    """Differences over all cases."""

    def __init__(self, results: dict[str, Result], wanted: dict[str, tuple[Array, Array]]) -> None:
        candidate = np.concatenate([result.pixels.ravel() for result in results.values()]).astype(np.float64)
        float32 = np.concatenate([wanted[name][0].ravel() for name in results]).astype(np.float64)
        float64 = np.concatenate([wanted[name][1].ravel() for name in results]).astype(np.float64)
        images = np.concatenate([result.image.ravel() for result in results.values()]).astype(np.int16)
        self.against32 = errors_between(candidate, float32)
        self.against64 = errors_between(candidate, float64)
        self.own = errors_between(float32, float64)
        steps = np.abs(images - to_uint8(float32).astype(np.int16))
        self.differing_share = float((steps > 0).mean())
        self.max_steps = int(steps.max())
        self.worst_case = max(results, key=lambda name: float(np.abs(results[name].pixels - wanted[name][0]).max()))

    def gates(self) -> list[Gate]:
        return [
            Gate(
                code="tolerance",
                passed=self.against32.max_abs <= TOLERANCE,
                measured=self.against32.max_abs,
                limit=TOLERANCE,
                unit="largest absolute error of pixels on [-1, 1]",
                what=f"ONNX Runtime gives the pixels of eager PyTorch (worst case: {self.worst_case})",
                advice="a layer was exported with other parameters, e.g. another eps or a layer left in train mode",
            ),
            Gate(
                code="uint8_rounding",
                passed=self.max_steps <= ROUNDING_LIMIT,
                measured=self.max_steps,
                limit=ROUNDING_LIMIT,
                unit="largest difference in uint8 steps",
                what="the uint8 image is the rounded float image of eager PyTorch",
                advice="the scaling or rounding at the end of the graph is wrong",
            ),
        ]


def errors_between(candidate: Array, reference: Array) -> Errors:
    """Maximum, mean and 99.9th percentile of |candidate - reference|, and PSNR for values on [-1, 1]."""
    difference = np.abs(candidate - reference)
    mean_square = float(np.square(difference).mean())
    return Errors(
        max_abs=float(difference.max()),
        mean_abs=float(difference.mean()),
        p999_abs=float(np.quantile(difference, 0.999)),
        psnr_db=10 * float(np.log10(4.0 / mean_square)) if mean_square else None,
    )


def to_uint8(pixels: Array) -> NDArray[np.uint8]:
    """[-1, 1] -> 0..255, rounded half to even."""
    return np.clip(np.rint((pixels + 1.0) * 127.5), 0, 255).astype(np.uint8)


def _gate_runs(refused: Mapping[str, str]) -> Gate:
    first = f": {next(iter(refused))}: {next(iter(refused.values()))}" if refused else ""
    return Gate(
        code="dynamic_batch",
        passed=not refused,
        measured=len(refused),
        limit=0,
        unit="refused batches",
        what=f"the graph runs at every batch size, latent and label{first}",
        advice="a batch size or a class count was baked into the graph; use -1 and x.shape[0] in reshapes",
    )


def _signature_gates(manifest: Manifest, cases: dict[str, Case], results: dict[str, Result]) -> list[Gate]:
    size = (manifest.image.channels, manifest.image.height, manifest.image.width)
    shapes = [
        name
        for name, result in results.items()
        if result.image.shape != (len(cases[name].z), *size) or result.pixels.shape != result.image.shape
    ]
    dtypes = [n for n, r in results.items() if r.image.dtype != np.uint8 or r.pixels.dtype != np.float32]
    wild = [name for name, result in results.items() if not np.isfinite(result.pixels).all()]
    return [
        Gate(
            code="shape",
            passed=not shapes,
            measured=len(shapes),
            limit=0,
            unit="batches of another shape",
            what=f"outputs are (N, {', '.join(map(str, size))})",
            advice="the generator gives another image size or layout than declared",
        ),
        Gate(
            code="dtype",
            passed=not dtypes,
            measured=len(dtypes),
            limit=0,
            unit="batches of another type",
            what="outputs are uint8 and float32",
            advice="a layer of another precision is in the graph",
        ),
        Gate(
            code="finite",
            passed=not wild,
            measured=len(wild),
            limit=0,
            unit="batches with NaN or infinity",
            what="every pixel is a finite number",
            advice="a weight is NaN or a layer overflows; export an earlier checkpoint",
        ),
    ]


def _value_gates(manifest: Manifest, results: dict[str, Result]) -> list[Gate]:
    low, high = manifest.image.value_range
    smallest = min(float(result.pixels.min()) for result in results.values())
    largest = max(float(result.pixels.max()) for result in results.values())
    excess = max(low - smallest, largest - high, 0.0)
    middle = (low + high) / 2
    if smallest >= middle or largest <= middle:
        excess = max(excess, smallest - low, high - largest)
    return [
        Gate(
            code="value_range",
            passed=excess <= RANGE_SLACK,
            measured=excess,
            limit=RANGE_SLACK,
            unit="outside the declared range, or unused of it",
            what=f"pixels are on [{low:g}, {high:g}] and use both halves of it (found {smallest:.4g} to {largest:.4g})",
            advice="the declared output range is wrong, e.g. a sigmoid generator declared as tanh",
        )
    ]


def _behaviour_gates(cases: dict[str, Case], results: dict[str, Result]) -> list[Gate]:
    largest_name = f"seed{SEEDS[0]}_batch{max(BATCHES)}"
    largest = results[largest_name]
    moved = sum(
        not (
            np.array_equal(results[f"alone{i}"].image[0], largest.image[i])
            and np.array_equal(results[f"alone{i}"].pixels[0], largest.pixels[i])
        )
        for i in lone_positions(cases[largest_name])
    )
    changed = int((results["repeat"].pixels != largest.pixels).sum())
    return [
        Gate(
            code="deterministic",
            passed=changed == 0,
            measured=changed,
            limit=0,
            unit="pixels that differ between two runs",
            what="the same input gives the same image twice",
            advice="noise is drawn or dropout is on inside the graph; export in eval mode, pass noise as latents",
        ),
        Gate(
            code="batch_invariant",
            passed=moved == 0,
            measured=moved,
            limit=0,
            unit="images that differ alone and in a batch",
            what="an image does not depend on its neighbours in the batch",
            advice="batch statistics are used; export in eval mode, with BatchNorm's running statistics",
        ),
    ]


def _distinct_gates(manifest: Manifest, results: dict[str, Result]) -> list[Gate]:
    gates = [_distinct_gate("latents", "latent", results)]
    return [*gates, _distinct_gate("labels", "label", results)] if manifest.classes > 1 else gates


def _distinct_gate(case: str, what: str, results: dict[str, Result]) -> Gate:
    images = results[case].image
    copies = len(images) - len({image.tobytes() for image in images})
    return Gate(
        code=f"{case}_matter",
        passed=copies == 0,
        measured=copies,
        limit=0,
        unit="images that equal another one",
        what=f"every {what} gives an image of its own",
        advice=f"the generator ignores its {case}, or has collapsed; look at the training run's samples",
    )
