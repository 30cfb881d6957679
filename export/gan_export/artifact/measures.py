"""What the gates of a certificate measure, each of the evidence of one variant on one provider."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from .cases import labels_drawn
from .evidence import Evidence, few
from .manifest import EXACT
from .pixels import psnr_of
from .providers import Provider

TIE: Final = 1e-3  # uint8 steps: float arithmetic may put a value so close to a half on its other side
VISIBLE: Final = 4  # uint8 steps: more is counted


class Measurement(NamedTuple):
    """What a gate found: 0 is perfect, above the limit is a failure."""

    value: float
    detail: str = ""  # stands behind the gate's sentence


def is_near(variant: str, provider: Provider) -> bool:
    """Whether it is enough that the images look like the reference's: not of float32 that is computed as float32."""
    return variant != EXACT or not provider.exact


def evaluation_mode(evidence: Evidence) -> Measurement:
    """Layers of the reference that eval() does not reach."""
    children = evidence.reference.in_train_mode
    return Measurement(len(children), f": {', '.join(children[:3])}" if children else "")


def refused_batches(evidence: Evidence) -> Measurement:
    """Batches that could not be run at all."""
    refused = {name: result.error for name, result in evidence.results.items() if result.error is not None}
    first = next(iter(refused), "")
    return Measurement(len(refused), f": {first}: {refused[first]}" if refused else "")


def shape(evidence: Evidence) -> Measurement:
    """Batches whose outputs are not (N, C, H, W)."""
    image = evidence.manifest.image
    size = (image.channels, image.height, image.width)
    wrong = [
        result.pixels.shape
        for name, result in evidence.results.items()
        if result.image.shape != (len(evidence.cases[name].z), *size) or result.pixels.shape != result.image.shape
    ]
    found = f", found {wrong[0]}" if wrong else ""
    return Measurement(len(wrong), f" (N, {', '.join(map(str, size))}){found}")


def dtype(evidence: Evidence) -> Measurement:
    """Batches whose outputs are not uint8 and float32."""
    wrong = [r for r in evidence.results.values() if r.image.dtype != np.uint8 or r.pixels.dtype != np.float32]
    return Measurement(len(wrong), f", found {wrong[0].image.dtype} and {wrong[0].pixels.dtype}" if wrong else "")


def finite(evidence: Evidence) -> Measurement:
    """Batches with NaN or infinity."""
    wild = [name for name, result in evidence.results.items() if not np.isfinite(result.pixels).all()]
    return Measurement(len(wild), f" (not in {wild[0]})" if wild else "")


def deterministic(evidence: Evidence) -> Measurement:
    """Pixels that differ where a whole batch was drawn again, of the candidate and of the reference."""
    changed = sum(count for _, count in evidence.copies(whole=True))
    of_reference = evidence.reference.changed
    return Measurement(changed + of_reference, " (the module itself is not deterministic)" if of_reference else "")


def batch_invariant(evidence: Evidence) -> Measurement:
    """Images that differ where a part of a batch was drawn again, of the candidate and of the reference."""
    moved = [(name, count) for name, count in evidence.copies(whole=False) if count]
    of_reference = evidence.reference.moved
    if moved:
        where = f" (first: {moved[0][0]})"
    elif of_reference:
        where = f" (the module itself is not {'deterministic' if evidence.is_noisy else 'batch invariant'})"
    else:
        where = ""
    return Measurement(sum(count for _, count in moved) + of_reference, where)


def value_range(evidence: Evidence) -> Measurement:
    """How far pixels are outside the declared range, or stay away from one half of it."""
    low, high = evidence.manifest.image.value_range
    smallest = min(float(result.pixels.min()) for result in evidence.results.values())
    largest = max(float(result.pixels.max()) for result in evidence.results.values())
    excess = max(low - smallest, largest - high, 0.0)
    middle = (low + high) / 2
    if smallest >= middle or largest <= middle:
        excess = max(excess, smallest - low, high - largest)
    return Measurement(
        excess, f" [{low:g}, {high:g}] and use both halves of it (found {smallest:.4g} to {largest:.4g})"
    )


def tolerance(evidence: Evidence) -> Measurement | None:
    """The largest absolute error; None where there is nothing to compare with."""
    worst = {
        name: max(float(pixels.max()) for _, pixels in evidence.differences(name))
        for name in evidence.reference.float32
    }
    if not worst:
        return None
    name = max(worst, key=lambda case: worst[case])
    own = evidence.own_rounding()
    rounding = "" if own is None else f"; the reference's own float32 rounding is {own:.1e}"
    return Measurement(worst[name], f" (worst case: {name}{rounding})")


def rms_error(evidence: Evidence) -> Measurement | None:
    """The root mean square error of images that are not of the tails."""
    error = evidence.usual_error()
    return None if error is None else Measurement(error, f" (PSNR {psnr_of(error):.1f} dB)")


def visible(evidence: Evidence) -> Measurement | None:
    """The share of their uint8 pixels that are off by more than VISIBLE."""
    share = evidence.usual_share(VISIBLE)
    return None if share is None else Measurement(share)


def worst_image(evidence: Evidence) -> Measurement | None:
    """The root mean square error of the image that has the largest, of those that are not of the tails."""
    worst = evidence.worst_usual()
    return None if worst is None else Measurement(worst[0], f" (PSNR {psnr_of(worst[0]):.1f} dB, in {worst[1]})")


def uint8_rounding(evidence: Evidence) -> Measurement:
    """uint8 pixels that are not the float ones, scaled and rounded to the nearest."""
    wrong = 0
    for result in evidence.results.values():
        for rows in few(result.pixels.shape):
            exact = np.clip((result.pixels[rows].astype(np.float64) + 1.0) * 127.5, 0, 255)
            wrong += int((np.abs(result.image[rows] - exact) > 0.5 + TIE).sum())
    return Measurement(wrong)


def _distinct(evidence: Evidence, kind: str) -> Measurement | None:
    """Images whose inputs differ in one thing only: each must be one of its own."""
    images = {
        int(case.label[row]) if kind == "labels" and case.label is not None else row: image
        for name, case in evidence.cases.items()
        if case.distinct == kind
        for row, image in enumerate(evidence.results[name].image)
    }
    if len(images) < 2:
        return None
    first: dict[bytes, int] = {}
    equal = [(seen, i) for i, image in images.items() if (seen := first.setdefault(image.tobytes(), i)) != i]
    return Measurement(len(equal), f" (images {equal[0][0]} and {equal[0][1]} are identical)" if equal else "")


def latents_matter(evidence: Evidence) -> Measurement | None:
    """Images that equal another one of other latents, else dimensions of the latent that move no pixel."""
    equal = _distinct(evidence, "latents")
    if equal is None or equal.value or is_near(evidence.variant, evidence.provider):
        return equal  # few bits may hide what a small part of the latent does
    still = evidence.unmoved()
    more = f" and {len(still) - 1} more" if len(still) > 1 else ""
    return Measurement(
        len(still), f" (moving dimension {still[0]} of the latent{more} changes no pixel)" if still else ""
    )


def labels_matter(evidence: Evidence) -> Measurement | None:
    """Images that equal another one of another label."""
    found = _distinct(evidence, "labels")
    classes, drawn = evidence.manifest.classes, len(labels_drawn(evidence.manifest.classes))
    if found is None or drawn == classes:
        return found
    return Measurement(found.value, f"; of {classes} labels {drawn} were drawn{found.detail}")
