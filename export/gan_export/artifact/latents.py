"""From seed to latent: the same numbers in every process, on every host and in every language (docs/design.md).

The words of a seed are those of `numpy.random.Philox(key=seed).random_raw()`: Philox4x64-10 (Salmon et al., 2011,
"Parallel random numbers: as easy as 1, 2, 3") with the seed as key and a counter that starts at 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

SAMPLER: Final = "philox4x64-10/1"
SEED_LIMIT: Final = 2**53
"""Seeds are integers with 0 <= seed < SEED_LIMIT."""

Distribution = Literal["normal", "uniform"]
Words = NDArray[np.uint64]

_ROUNDS = 10
_MULTIPLIERS = (np.uint64(0xD2E7470EE14C6C93), np.uint64(0xCA5A826395121157))
_WEYL = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBB67AE8584CAA73B))
_BELOW_ONE = np.nextafter(1.0, 0.0)
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)
_VECTOR_FROM = 24  # seeds; below, NumPy's own generator measured faster


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
    uniforms = ((words[:, :dim] >> np.uint64(11)) + 0.5) * 2.0**-53  # (n, dim) in (0, 1]
    uniforms = np.minimum(uniforms, _BELOW_ONE)  # the largest word rounds to 1, whose normal latent is infinite
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
    if len(seeds) >= _VECTOR_FROM:
        return _philox(np.array(seeds, np.uint64), count)
    rows = [np.random.Philox(key=seed).random_raw(count) for seed in seeds]
    return np.array(rows, np.uint64).reshape(len(seeds), count)


def _philox(keys: Words, count: int) -> Words:
    """Philox4x64-10 of all keys and counters at once: (n,) -> (n, count)."""
    n, blocks = len(keys), -(-count // 4)
    c0 = np.broadcast_to(np.arange(1, blocks + 1, dtype=np.uint64), (n, blocks)).copy()
    c1, c2, c3 = np.zeros_like(c0), np.zeros_like(c0), np.zeros_like(c0)
    k0, k1 = keys[:, None].copy(), np.zeros((n, 1), np.uint64)  # the key's low and high word
    for _ in range(_ROUNDS):
        high0, low0 = _multiply(c0, _MULTIPLIERS[0])
        high1, low1 = _multiply(c2, _MULTIPLIERS[1])
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0, k1 = k0 + _WEYL[0], k1 + _WEYL[1]  # modulo 2**64, as the algorithm wants
    return np.stack([c0, c1, c2, c3], axis=-1).reshape(n, blocks * 4)[:, :count]


def _multiply(a: Words, b: np.uint64) -> tuple[Words, Words]:
    """High and low words of the 128-bit products."""
    a_low, a_high, b_low, b_high = a & _LOW, a >> _HALF, b & _LOW, b >> _HALF
    low = a_low * b_low
    middle = a_high * b_low + (low >> _HALF)
    carry = a_low * b_high + (middle & _LOW)
    return a_high * b_high + (middle >> _HALF) + (carry >> _HALF), a * b
