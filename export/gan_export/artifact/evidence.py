"""What the gates look at: the cases, what the candidate made of them, and what it is compared with."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from math import prod
from typing import Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .candidate import Results
from .cases import TAIL, Array, Cases
from .certificate import Errors
from .manifest import EXACT, Manifest
from .pixels import psnr_of, to_uint8
from .providers import CPU, Provider

Kind: TypeAlias = Literal["candidate", "float32", "float64"]
FEW_VALUES: Final = 2**18  # pixels that are compared at once: 2 MiB in float64
ROUNDED: Final = 1e-3  # uint8 steps: pixels as close to whole ones were rounded


@dataclass(frozen=True)
class Reference:
    """What a certificate compares with: pixels of float32 and, where it can be had, float64, for some of the cases."""

    float32: dict[str, Array]
    float64: dict[str, Array] = field(default_factory=dict)
    in_train_mode: tuple[str, ...] = ()  # children of the module that eval() does not reach
    changed: int = 0  # pixels of the reference itself that differ between two runs
    moved: int = 0  # images of the reference itself that differ alone and in a batch


@dataclass(frozen=True)
class Evidence:
    """Everything that the gates look at."""

    manifest: Manifest
    cases: Cases
    results: Results
    reference: Reference
    variant: str = EXACT
    provider: Provider = CPU

    def differences(self, name: str, one: Kind = "candidate", other: Kind = "float32") -> Iterator[tuple[slice, Array]]:
        """|one - other| of the pixels in a compared case, in float64, some images at a time."""
        for rows in self._few(name):
            first, second = (self._pixels(kind, name)[rows] for kind in (one, other))
            pixels = first.astype(np.float64)
            np.subtract(pixels, second, out=pixels)
            yield rows, np.abs(pixels, out=pixels)

    def _few(self, name: str) -> Iterator[slice]:
        """The images of a case, as many at a time as take little memory in float64."""
        return few(self.reference.float32[name].shape)

    @property
    def is_noisy(self) -> bool:
        """Whether the generator itself gives other images each time, or was exported though it does."""
        return self.reference.changed > 0 or not self.manifest.properties.deterministic

    def copies(self, *, whole: bool) -> Iterator[tuple[str, int]]:
        """Cases that must equal another, and how many pixels differ; not `whole`: equal a part, images that differ."""
        for name, case in self.cases.items():
            if not case.copy_of or whole != (len(case.z) == len(self.cases[case.copy_of].z)):
                continue
            first, again = self.results[case.copy_of], self.results[name]
            rows = slice(case.start, case.start + len(case.z))
            differs = (first.pixels[rows] != again.pixels) | (first.image[rows] != again.image)
            yield name, int(differs.sum() if whole else differs.any(axis=(1, 2, 3)).sum())

    def unmoved(self) -> list[str]:
        """Dimensions of the latent that can be moved to the other end of its distribution and move no pixel.

        None of a graph that rounds its pixels itself: that may hide a small influence.
        """
        still: list[str] = []
        for name, case in self.cases.items():
            if case.moves:
                pixels = self.results[name].pixels
                if not all(_is_rounded(pixels[rows]) for rows in few(pixels.shape)):
                    still += [move for row, move in enumerate(case.moves, 1) if (pixels[row] == pixels[0]).all()]
        return still

    def errors(self, one: Kind, other: Kind) -> Errors:
        """Of the pixels of all compared cases, one kind against another."""
        count = sum(pixels.size for pixels in self.reference.float32.values())
        return errors_of(
            (pixels for name in self.reference.float32 for _, pixels in self.differences(name, one, other)), count
        )

    def _pixels(self, kind: Kind, name: str) -> Array:
        if kind == "candidate":
            return self.results[name].pixels
        return (self.reference.float32 if kind == "float32" else self.reference.float64)[name]

    def own_rounding(self) -> float | None:
        """Largest difference of the reference in float32 from itself in float64; None if there is no float64, or if
        noise differs too."""
        if self.is_noisy or not self.reference.float64:
            return None
        return max(
            float(pixels.max())
            for name in self.reference.float64
            for _, pixels in self.differences(name, "float32", "float64")
        )

    def uint8_difference(self) -> tuple[float, int]:
        """Share of uint8 pixels that differ from the reference's rounded ones, and by how many steps at most."""
        off = most = 0
        for name in self.reference.float32:
            for _, steps in self._steps(name):
                off, most = off + int((steps > 0).sum()), max(most, int(steps.max()))
        return off / sum(pixels.size for pixels in self.reference.float32.values()), most

    def usual_error(self) -> float | None:
        """Root mean square difference on the images whose latents may be drawn; None if there are none of these."""
        total, count = 0.0, 0
        for name, usual in self._usual().items():
            for rows, pixels in self.differences(name):
                some = pixels[usual[rows]]
                total, count = total + float(np.square(some).sum()), count + some.size
        return float(np.sqrt(total / count)) if count else None

    def worst_usual(self) -> tuple[float, str] | None:
        """Root mean square difference of the one of these images that has the largest, and its case."""
        found = [
            (float(np.sqrt(np.square(pixels[usual[rows]]).mean(axis=(1, 2, 3)).max())), name)
            for name, usual in self._usual().items()
            for rows, pixels in self.differences(name)
            if usual[rows].any()
        ]
        return max(found, default=None)

    def usual_share(self, steps: int) -> float | None:
        """Share of these images' uint8 pixels that are off by more than so many steps; None if there are none."""
        off = count = 0
        for name, usual in self._usual().items():
            for rows, found in self._steps(name):
                some = found[usual[rows]]
                off, count = off + int((some > steps).sum()), count + some.size
        return off / count if count else None

    def _usual(self) -> dict[str, NDArray[np.bool_]]:
        """Which images of each compared case are none of the tails, where all numbers of a latent are far out."""
        far = TAIL if self.manifest.latent.distribution == "normal" else 1.0
        rows = {name: np.abs(self.cases[name].z).min(axis=1) < far for name in self.reference.float32}
        return {name: usual for name, usual in rows.items() if usual.any()}

    def _steps(self, name: str) -> Iterator[tuple[slice, Array]]:
        """By how many steps uint8 pixels are off in a case, some images at a time."""
        for rows in self._few(name):
            steps = self.results[name].image[rows].astype(np.int16)
            yield rows, np.abs(steps - to_uint8(self.reference.float32[name][rows]))


def _is_rounded(pixels: Array) -> bool:
    """Whether all are whole steps of bytes."""
    steps = (pixels.astype(np.float64) + 1.0) * 127.5
    return bool(np.abs(steps - np.rint(steps)).max() <= ROUNDED)


def few(shape: tuple[int, ...]) -> Iterator[slice]:
    """(N, C, H, W) images, as many at a time as take little memory."""
    step = max(1, FEW_VALUES // max(1, prod(shape[1:])))
    return (slice(start, start + step) for start in range(0, shape[0], step))


def errors_of(differences: Iterable[Array], count: int) -> Errors:
    """Maximum, mean and 99.9th percentile of |candidate - reference|, and PSNR for values on [-1, 1].

    Args:
        differences: in parts.
        count: of values in all of them.
    """
    place = 0.999 * (count - 1)  # of the percentile, among all in ascending order
    kept = count - int(place)
    largest, total, squares = np.empty(0), 0.0, 0.0
    for part in differences:
        values = part.reshape(-1)
        total, squares = total + float(values.sum()), squares + float(np.dot(values, values))
        if len(largest) == kept:
            values = values[values > largest[0]]
        largest = np.sort(np.concatenate([largest, values]))[-kept:]
    low, high = largest[:2] if kept > 1 else (largest[0], largest[0])
    return Errors(
        max_abs=float(largest[-1]),
        mean_abs=total / count,
        p999_abs=float(low + (place - int(place)) * (high - low)),
        psnr_db=psnr_of((squares / count) ** 0.5) if squares else None,
    )
