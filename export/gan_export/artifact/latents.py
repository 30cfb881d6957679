"""From seed to latent: the same numbers in every process, on every host and in every language (docs/design.md).

The words of a seed are those of `numpy.random.Philox(key=seed).random_raw()`: Philox4x64-10 (Salmon et al., 2011,
"Parallel random numbers: as easy as 1, 2, 3") with the seed as key and a counter that starts at 1.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

SAMPLER: Final = "philox4x64-10/1"
SEED_LIMIT: Final = 2**53
"""Seeds are integers with 0 <= seed < SEED_LIMIT."""

Distribution = Literal["normal", "uniform"]
Words = NDArray[np.uint64]

_BELOW_ONE: Final = np.nextafter(1.0, 0.0)
_UNUSED_BITS: Final = np.uint64(11)  # of a word's 64: a float64 holds 53


class Draw(NamedTuple):
    """What n seeds give."""

    latents: NDArray[np.float32]  # (n, dim)
    labels: NDArray[np.int64] | None  # (n,) the class each seed would choose; None without classes


def draw(
    seeds: Sequence[int],
    dim: int,
    distribution: Distribution,
    *,
    classes: int = 0,
    truncation: float | None = None,
) -> Draw:
    """Latents, and labels if there are classes, of a list of seeds.

    Args:
        seeds: n integers, 0 <= seed < 2**53.
        dim: length of a latent vector.
        distribution: `normal` for N(0, 1), `uniform` on [-1, 1].
        classes: number of classes; 0 for none.
        truncation: cut normal latents to [-truncation, truncation]; must be positive.

    Raises:
        ValueError: a seed out of range, or a truncation that is not positive or asked of uniform latents.
    """
    for seed in seeds:
        if not 0 <= seed < SEED_LIMIT:
            raise ValueError(f"seed {seed} is out of range; use 0 <= seed < 2**53")
    if truncation is not None and (distribution != "normal" or not truncation > 0):
        raise ValueError(f"truncation {truncation} needs normal latents and must be above 0")
    words = words_of(seeds, dim + 1 if classes else dim)
    uniforms = (words[:, :dim] >> _UNUSED_BITS).astype(np.float64)  # (n, dim)
    uniforms += 0.5
    uniforms *= 2.0**-53  # in (0, 1]
    np.minimum(uniforms, _BELOW_ONE, out=uniforms)  # the largest word rounds to 1, whose normal latent is infinite
    latents = 2.0 * uniforms - 1.0 if distribution == "uniform" else _normal(uniforms, truncation)
    labels = (words[:, dim] % np.uint64(classes)).astype(np.int64) if classes else None
    return Draw(latents.astype(np.float32), labels)


def _normal(uniforms: NDArray[np.float64], truncation: float | None) -> NDArray[np.float64]:
    """Inverse normal CDF, of the whole normal distribution or cut to [-truncation, truncation]."""
    from scipy import special  # here: half a second of imports for a process that draws nothing

    if truncation is not None:
        low, high = special.ndtr(-truncation), special.ndtr(truncation)
        uniforms = low + uniforms * (high - low)
    latents: NDArray[np.float64] = special.ndtri(uniforms)
    return latents


def words_of(seeds: Sequence[int], count: int) -> Words:
    """(n, count) first raw words of each seed, as `numpy.random.Philox(key=seed).random_raw(count)` gives them."""
    return np.array(_philox.words(seeds, count), np.uint64).reshape(len(seeds), count)


class _Philox(threading.local):
    """NumPy's generator, one for each thread, set to seed after seed.

    A new one for each seed asks the operating system for entropy that it has no use for: 7 us in place of 1.
    """

    def __init__(self) -> None:
        self._generator = np.random.Philox(key=0)
        self._state = self._generator.state  # a copy, in which nothing has been drawn

    def words(self, seeds: Sequence[int], count: int) -> list[Words]:
        """(count,) first raw words of each seed."""
        generator, state = self._generator, self._state  # looked up once: in a thread's own storage that takes a while
        key, rows = state["state"]["key"], list[Words]()
        for seed in seeds:
            key[0] = seed
            generator.state = state
            rows.append(generator.random_raw(count))
        return rows


_philox = _Philox()
