"""The gates of a certificate, in their order: causes stand before their effects, and the first that fails ends it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import numpy as np

from .certificate import TOLERANCE, Gate, Options
from .evidence import Evidence, Reference
from .manifest import EXACT, Manifest
from .providers import CPU, Provider

RANGE_SLACK: Final = 1e-6
TIE: Final = 1e-3  # uint8 steps: float arithmetic may put a value so close to a half on its other side
MIN_PSNR_DB: Final = 40.0
VISIBLE: Final = 4  # uint8 steps: more is counted
MAX_VISIBLE_SHARE: Final = 0.02  # of uint8 pixels


class Measured(NamedTuple):
    """What a gate found: 0 is perfect, above the limit is a failure."""

    value: float
    detail: str = ""  # stands behind the gate's sentence


class Rule(NamedTuple):
    """A gate: `measure` returns None where there is nothing to judge."""

    code: str
    measure: Callable[[Evidence], Measured | None]
    unit: str
    what: str
    advice: str
    limit: float = 0
    may_be_allowed: bool = True


def judge_reference(manifest: Manifest, reference: Reference, options: Options) -> list[Gate]:
    """What can be said of a generator before it is exported: whether it keeps what is promised of the file."""
    rules = [rule for rule in RULES if rule.code in ("evaluation_mode", "deterministic", "batch_invariant")]
    return judge(Evidence(manifest, {}, {}, reference), options, rules)


def judge(evidence: Evidence, options: Options, rules: Sequence[Rule] | None = None) -> list[Gate]:
    """The gates in their order, up to the first that fails and was not allowed to."""
    gates: list[Gate] = []
    for rule in rules_of(evidence.variant, evidence.provider) if rules is None else rules:
        measured = rule.measure(evidence)
        if measured is None:
            continue
        limit = options.tolerance if rule.code == "tolerance" else rule.limit
        passed = measured.value <= limit
        gate = Gate(
            code=rule.code,
            passed=passed,
            allowed=not passed and rule.code in options.allowed,
            measured=measured.value,
            limit=limit,
            unit=rule.unit,
            what=rule.what + measured.detail,
            advice=rule.advice,
        )
        gates.append(gate)
        if gate.failed:
            break
    return gates


def _evaluation_mode(evidence: Evidence) -> Measured:
    children = evidence.reference.in_train_mode
    return Measured(len(children), f": {', '.join(children[:3])}" if children else "")


def _runs(evidence: Evidence) -> Measured:
    refused = {name: result.error for name, result in evidence.results.items() if result.error is not None}
    first = next(iter(refused), "")
    return Measured(len(refused), f": {first}: {refused[first]}" if refused else "")


def _shape(evidence: Evidence) -> Measured:
    image = evidence.manifest.image
    size = (image.channels, image.height, image.width)
    wrong = [
        result.pixels.shape
        for name, result in evidence.results.items()
        if result.image.shape != (len(evidence.cases[name].z), *size) or result.pixels.shape != result.image.shape
    ]
    found = f", found {wrong[0]}" if wrong else ""
    return Measured(len(wrong), f" (N, {', '.join(map(str, size))}){found}")


def _dtype(evidence: Evidence) -> Measured:
    wrong = [r for r in evidence.results.values() if r.image.dtype != np.uint8 or r.pixels.dtype != np.float32]
    return Measured(len(wrong), f", found {wrong[0].image.dtype} and {wrong[0].pixels.dtype}" if wrong else "")


def _finite(evidence: Evidence) -> Measured:
    wild = [name for name, result in evidence.results.items() if not np.isfinite(result.pixels).all()]
    return Measured(len(wild), f" (not in {wild[0]})" if wild else "")


def _deterministic(evidence: Evidence) -> Measured:
    changed = sum(count for _, count in evidence.copies(whole=True))
    of_reference = evidence.reference.changed
    return Measured(changed + of_reference, " (it does not in the module itself)" if of_reference else "")


def _batch_invariant(evidence: Evidence) -> Measured:
    moved = [(name, count) for name, count in evidence.copies(whole=False) if count]
    of_reference = evidence.reference.moved
    where = f" (first: {moved[0][0]})" if moved else " (it does in the module itself)" if of_reference else ""
    return Measured(sum(count for _, count in moved) + of_reference, where)


def _value_range(evidence: Evidence) -> Measured:
    low, high = evidence.manifest.image.value_range
    smallest = min(float(result.pixels.min()) for result in evidence.results.values())
    largest = max(float(result.pixels.max()) for result in evidence.results.values())
    excess = max(low - smallest, largest - high, 0.0)
    middle = (low + high) / 2
    if smallest >= middle or largest <= middle:
        excess = max(excess, smallest - low, high - largest)
    return Measured(excess, f" [{low:g}, {high:g}] and use both halves of it (found {smallest:.4g} to {largest:.4g})")


def _tolerance(evidence: Evidence) -> Measured | None:
    worst = {name: float(difference.max()) for name, difference in evidence.differences.items()}
    if not worst:
        return None
    name = max(worst, key=lambda case: worst[case])
    own = evidence.own_rounding()
    rounding = "" if own is None else f"; the reference's own float32 rounding is {own:.1e}"
    return Measured(worst[name], f" (worst case: {name}{rounding})")


def psnr_of(error: float) -> float:
    """In dB, of a root mean square error of pixels on [-1, 1]."""
    return 20 * float(np.log10(2 / max(error, 1e-12)))


def _near(evidence: Evidence) -> Measured | None:
    error = evidence.usual_error()
    return None if error is None else Measured(error, f" (PSNR {psnr_of(error):.1f} dB)")


def _visible(evidence: Evidence) -> Measured | None:
    return None if evidence.usual_error() is None else Measured(evidence.usual_share(VISIBLE))


def _uint8_rounding(evidence: Evidence) -> Measured:
    wrong = 0
    for result in evidence.results.values():
        exact = np.clip((result.pixels.astype(np.float64) + 1.0) * 127.5, 0, 255)
        wrong += int((np.abs(result.image - exact) > 0.5 + TIE).sum())
    return Measured(wrong)


def _distinct(evidence: Evidence, kind: str) -> Measured | None:
    """Images whose inputs differ in one thing only: each must be one of its own."""
    images = [
        image
        for name, case in evidence.cases.items()
        if case.distinct == kind
        for image in evidence.results[name].image
    ]
    if len(images) < 2:
        return None
    first: dict[bytes, int] = {}
    equal = [(seen, i) for i, image in enumerate(images) if (seen := first.setdefault(image.tobytes(), i)) != i]
    return Measured(len(equal), f" (the ones of {equal[0][0]} and {equal[0][1]} are equal)" if equal else "")


def _latents_matter(evidence: Evidence) -> Measured | None:
    equal = _distinct(evidence, "latents")
    if equal is None or equal.value or is_near(evidence.variant, evidence.provider):
        return equal  # few bits may hide what a small part of the latent does
    still = evidence.unmoved()
    more = f" and {len(still) - 1} more" if len(still) > 1 else ""
    return Measured(len(still), f" (moving dimension {still[0]} of the latent{more} changes no pixel)" if still else "")


def _labels_matter(evidence: Evidence) -> Measured | None:
    return _distinct(evidence, "labels")


RULES: Final = (
    Rule(
        "evaluation_mode",
        _evaluation_mode,
        "layers in train mode",
        "eval() reaches every layer",
        "a layer overrides train(), so that BatchNorm and dropout in it go on training; let it pass the mode on",
    ),
    Rule(
        "dynamic_batch",
        _runs,
        "refused batches",
        "the graph runs at every batch size, latent and label",
        "a batch size or a class count was baked into the graph; use -1 and x.shape[0] in reshapes",
        may_be_allowed=False,
    ),
    Rule(
        "shape",
        _shape,
        "batches of another shape",
        "outputs are",
        "the generator gives another image size or layout than declared",
        may_be_allowed=False,
    ),
    Rule(
        "dtype",
        _dtype,
        "batches of another type",
        "outputs are uint8 and float32",
        "a layer of another precision is in the graph",
        may_be_allowed=False,
    ),
    Rule(
        "finite",
        _finite,
        "batches with NaN or infinity",
        "every pixel is a finite number",
        "a weight is NaN or a layer overflows; export an earlier checkpoint",
        may_be_allowed=False,
    ),
    Rule(
        "deterministic",
        _deterministic,
        "pixels that differ between two runs",
        "the same input gives the same image twice",
        "noise is drawn or dropout is on inside forward; draw noise outside and pass it as latents (on a GPU: a kernel "
        "adds in another order each time)",
    ),
    Rule(
        "batch_invariant",
        _batch_invariant,
        "images that differ alone and in a batch",
        "an image does not depend on its neighbours in the batch, nor on the number of threads",
        "batch statistics are used; export in eval mode, with BatchNorm's running statistics (a case named one_thread: "
        "an operator of ONNX Runtime rounds otherwise with another number of threads)",
    ),
    Rule(
        "value_range",
        _value_range,
        "outside the declared range, or unused of it",
        "pixels are on",
        "the declared output range is wrong, e.g. a sigmoid generator declared as tanh",
        limit=RANGE_SLACK,
    ),
    Rule(
        "tolerance",
        _tolerance,
        "largest absolute error of pixels on [-1, 1]",
        "ONNX Runtime gives the pixels of the reference",
        "a layer was exported with other parameters, e.g. another eps or another layout; if the reference's own "
        "rounding is as large, the net amplifies rounding: give a larger --tolerance",
        limit=TOLERANCE,
    ),
    Rule(
        "uint8_rounding",
        _uint8_rounding,
        "uint8 pixels that are not the rounded float ones",
        "the uint8 image is the rounded float image",
        "the scaling or rounding at the end of the graph is wrong",
    ),
    Rule(
        "latents_matter",
        _latents_matter,
        "images that equal another one",
        "every latent gives an image of its own",
        "the generator ignores its latents or a part of them (is --latent too large?), or has collapsed; look at the "
        "training run's samples",
    ),
    Rule(
        "labels_matter",
        _labels_matter,
        "images that equal another one",
        "every label gives an image of its own",
        "the generator ignores its labels, reads them modulo something, or has fewer classes than declared",
    ),
)

NEAR_RULES: Final = (
    Rule(
        "psnr",
        _near,
        "root mean square error of pixels on [-1, 1]",
        f"images, but for those of the latents' tails, are within {MIN_PSNR_DB:g} dB of the reference",
        "in int8, this host's integer kernels give other results; in float16 or TF32, numbers are too large or too "
        "close for it; or latents are not of the declared distribution; serve fp32 here",
        limit=2 * 10 ** (-MIN_PSNR_DB / 20),
    ),
    Rule(
        "visible",
        _visible,
        "share of uint8 pixels",
        f"few of their uint8 pixels are off by more than {VISIBLE}",
        "some images suffer from the variant's narrower numbers more than the mean does; serve fp32",
        limit=MAX_VISIBLE_SHARE,
    ),
)
"""What stands in the place of `tolerance` where `is_near`."""


def is_near(variant: str, provider: Provider) -> bool:
    """Whether it is enough that the images look like the reference's: not of float32 that is computed as float32."""
    return variant != EXACT or not provider.exact


def rules_of(variant: str, provider: Provider = CPU) -> tuple[Rule, ...]:
    """The gates of a variant on a provider, in their order."""
    if not is_near(variant, provider):
        return RULES
    place = next(i for i, rule in enumerate(RULES) if rule.code == "tolerance")
    return (*RULES[:place], *NEAR_RULES, *RULES[place + 1 :])


CODES: Final = tuple(rule.code for rule in RULES)
ALLOWABLE: Final = tuple(rule.code for rule in RULES if rule.may_be_allowed)
"""Codes of gates that `--allow` may let through; without the others there is nothing to serve."""
