"""The gates of a certificate, in their order: causes stand before their effects, and the first that fails ends it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from . import measures
from .certificate import TOLERANCE, Gate, Options
from .evidence import Evidence, Reference
from .manifest import Manifest
from .measures import VISIBLE, Measurement, is_near
from .providers import CPU, Provider

RANGE_SLACK: Final = 1e-6
MIN_PSNR_DB: Final = 40.0
MIN_IMAGE_PSNR_DB: Final = 20.0  # of one image; in the zoo another one is at 17 dB at most, and int8's at 23 at least
MAX_VISIBLE_SHARE: Final = 0.02  # of uint8 pixels

NOISE_ADVICE: Final = (
    "the generator draws noise or applies dropout in forward; switch it off (`--init` or `--forward`; see "
    "docs/bring-your-own.md, Noise inside the module), or make it a constant"
)
MOVED_BY_NOISE: Final = frozenset({"deterministic", "batch_invariant", "tolerance", "psnr", "visible", "worst_image"})
"""Gates that noise alone makes fail: whatever else may be wrong, it can't be told apart from that."""


class Rule(NamedTuple):
    """A gate: `measure` (of measures.py) returns None where there is nothing to judge."""

    code: str
    measure: Callable[[Evidence], Measurement | None]
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
        advice = NOISE_ADVICE if evidence.is_noisy and rule.code in MOVED_BY_NOISE else rule.advice
        gate = Gate(
            code=rule.code,
            passed=passed,
            allowed=not passed and rule.code in options.allowed,
            measured=measured.value,
            limit=limit,
            unit=rule.unit,
            what=rule.what + measured.detail,
            advice=advice,
        )
        gates.append(gate)
        if gate.failed:
            break
    return gates


RULES: Final = (
    Rule(
        "evaluation_mode",
        measures.evaluation_mode,
        "layers in train mode",
        "eval() reaches every layer",
        "a layer overrides train(), so BatchNorm and dropout in it stay in train mode; have it pass the mode on",
    ),
    Rule(
        "dynamic_batch",
        measures.refused_batches,
        "refused batches",
        "the graph runs at every batch size, latent and label",
        "a batch size or a class count was baked into the graph; use -1 and x.shape[0] in reshapes",
        may_be_allowed=False,
    ),
    Rule(
        "shape",
        measures.shape,
        "batches of another shape",
        "outputs are",
        "the generator gives a different image size or layout than declared",
        may_be_allowed=False,
    ),
    Rule(
        "dtype",
        measures.dtype,
        "batches of another type",
        "outputs are uint8 and float32",
        "a layer of another precision is in the graph",
        may_be_allowed=False,
    ),
    Rule(
        "finite",
        measures.finite,
        "batches with NaN or infinity",
        "every pixel is a finite number",
        "a weight is NaN or a layer overflows; export an earlier checkpoint",
        may_be_allowed=False,
    ),
    Rule(
        "deterministic",
        measures.deterministic,
        "pixels that differ between two runs",
        "the same input gives the same image twice",
        "noise is drawn or dropout is on inside the graph; switch it off, or make it a constant (on a GPU: a kernel "
        "adds in a different order each time)",
    ),
    Rule(
        "batch_invariant",
        measures.batch_invariant,
        "images that differ alone and in a batch",
        "an image does not depend on its neighbours in the batch, nor on the number of threads",
        "batch statistics are used; export in eval mode, with BatchNorm's running statistics (a case named one_thread: "
        "an operator rounds differently with another number of threads)",
    ),
    Rule(
        "value_range",
        measures.value_range,
        "distance beyond the range, or short of an end of it",
        "pixels are on",
        "the declared output range is wrong, e.g. a sigmoid generator declared as tanh",
        limit=RANGE_SLACK,
    ),
    Rule(
        "tolerance",
        measures.tolerance,
        "largest absolute error of pixels on [-1, 1]",
        "the file gives the pixels of the reference",
        "a layer was exported with other parameters, e.g. another eps or another layout; if the reference's own "
        "rounding is as large, the net amplifies rounding: give a larger --tolerance",
        limit=TOLERANCE,
    ),
    Rule(
        "uint8_rounding",
        measures.uint8_rounding,
        "uint8 pixels that are not the rounded float ones",
        "the uint8 image is the rounded float image",
        "the scaling or rounding at the end of the graph is wrong",
    ),
    Rule(
        "latents_matter",
        measures.latents_matter,
        "images that equal another one",
        "every latent gives an image of its own",
        "the generator ignores its latents or a part of them (is --latent too large?), or has collapsed; check the "
        "training run's samples",
    ),
    Rule(
        "labels_matter",
        measures.labels_matter,
        "images that equal another one",
        "every label gives an image of its own",
        "the generator ignores its labels, reads them modulo something, or has fewer classes than declared",
    ),
)

NEAR_RULES: Final = (
    Rule(
        "psnr",
        measures.rms_error,
        "root mean square error of pixels on [-1, 1]",
        f"images, but for those of the latents' tails, are within {MIN_PSNR_DB:g} dB of the reference",
        "in int8, this host's integer kernels give different results; in float16 or TF32, numbers are too large or too "
        "close for it; or the latents are not from the declared distribution; serve fp32 here",
        limit=2 * 10 ** (-MIN_PSNR_DB / 20),
    ),
    Rule(
        "visible",
        measures.visible,
        "share of uint8 pixels",
        f"few of their uint8 pixels are off by more than {VISIBLE}",
        "some images suffer from the variant's narrower numbers more than the mean does; serve fp32",
        limit=MAX_VISIBLE_SHARE,
    ),
    Rule(
        "worst_image",
        measures.worst_image,
        "root mean square error of the worst image's pixels on [-1, 1]",
        f"none of them is another image: each is within {MIN_IMAGE_PSNR_DB:g} dB of the reference",
        "for a class or for some latents, the variant's narrower numbers draw something else; serve fp32",
        limit=2 * 10 ** (-MIN_IMAGE_PSNR_DB / 20),
    ),
)
"""What stands in the place of `tolerance` where `is_near`."""


def rules_of(variant: str, provider: Provider = CPU) -> tuple[Rule, ...]:
    """The gates of a variant on a provider, in their order."""
    if not is_near(variant, provider):
        return RULES
    place = next(i for i, rule in enumerate(RULES) if rule.code == "tolerance")
    return (*RULES[:place], *NEAR_RULES, *RULES[place + 1 :])


ALLOWABLE: Final = tuple(rule.code for rule in RULES if rule.may_be_allowed)
"""Codes of gates that `--allow` may let through; without the others there is nothing to serve."""
