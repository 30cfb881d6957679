"""What the gates look at: the cases, what the candidate made of them, and what it is compared with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
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

    def difference(self, name: str) -> Array:
        """|candidate - reference| of float32 in a case, in float64."""
        pixels: Array = np.abs(self.results[name].pixels.astype(np.float64) - self.reference.float32[name])
        return pixels

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
                steps = (pixels.astype(np.float64) + 1.0) * 127.5
                if not np.allclose(steps, np.rint(steps), rtol=0, atol=ROUNDED):
                    still += [move for row, move in enumerate(case.moves, 1) if (pixels[row] == pixels[0]).all()]
        return still

    def errors(self, one: Kind, other: Kind) -> Errors:
        """Of the pixels of all compared cases, one kind against another."""
        # Filled case by case, since that is the one array which holds them all.
        differences = np.empty(sum(pixels.size for pixels in self.reference.float32.values()))
        start = 0
        for name, pixels in self.reference.float32.items():
            part = differences[start : start + pixels.size].reshape(pixels.shape)
            np.abs(self._pixels(one, name).astype(np.float64) - self._pixels(other, name), out=part)
            start += pixels.size
        return errors_of(differences)

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
            float(np.abs(self.reference.float32[name] - exact).max()) for name, exact in self.reference.float64.items()
        )

    def uint8_difference(self) -> tuple[float, int]:
        """Share of uint8 pixels that differ from the reference's rounded ones, and by how many steps at most."""
        off = most = 0
        for name in self.reference.float32:
            steps = self._steps(name)
            off, most = off + int((steps > 0).sum()), max(most, int(steps.max()))
        return off / sum(pixels.size for pixels in self.reference.float32.values()), most

    def usual_error(self) -> float | None:
        """Root mean square difference on the images whose latents may be drawn; None if there are none of these."""
        total, count = 0.0, 0
        for name, rows in self._usual().items():
            difference = self.difference(name)[rows]
            total, count = total + float(np.square(difference).sum()), count + difference.size
        return float(np.sqrt(total / count)) if count else None

    def worst_usual(self) -> tuple[float, str] | None:
        """Root mean square difference of the one of these images that has the largest, and its case."""
        found = [
            (float(np.sqrt(np.square(self.difference(name)[rows]).mean(axis=(1, 2, 3)).max())), name)
            for name, rows in self._usual().items()
        ]
        return max(found, default=None)

    def usual_share(self, steps: int) -> float | None:
        """Share of these images' uint8 pixels that are off by more than so many steps; None if there are none."""
        off = count = 0
        for name, rows in self._usual().items():
            found = self._steps(name)[rows]
            off, count = off + int((found > steps).sum()), count + found.size
        return off / count if count else None

    def _usual(self) -> dict[str, NDArray[np.bool_]]:
        """Which images of each compared case are none of the tails, where all numbers of a latent are far out."""
        far = TAIL if self.manifest.latent.distribution == "normal" else 1.0
        rows = {name: np.abs(self.cases[name].z).min(axis=1) < far for name in self.reference.float32}
        return {name: usual for name, usual in rows.items() if usual.any()}

    def _steps(self, name: str) -> Array:
        steps: Array = np.abs(self.results[name].image.astype(np.int16) - to_uint8(self.reference.float32[name]))
        return steps


def errors_of(differences: Array) -> Errors:
    """Maximum, mean and 99.9th percentile of |candidate - reference|, whose order is not kept, and PSNR for values on
    [-1, 1]."""
    most, mean = float(differences.max()), float(differences.mean())
    mean_square = float(np.square(differences).mean())
    return Errors(
        max_abs=most,
        mean_abs=mean,
        p999_abs=float(np.quantile(differences, 0.999, overwrite_input=True)),
        psnr_db=psnr_of(mean_square**0.5) if mean_square else None,
    )
