"""Seed -> latent: golden vectors that any language can check itself against, and the rules behind them."""

import random
import statistics
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from gan_export.artifact import SEED_LIMIT, draw
from gan_export.artifact.latents import words_of

FLOAT32_TOLERANCE = 2e-6  # of a latent: the reference computes in float64 with another algorithm
NORMAL = statistics.NormalDist()

# fmt: off
GOLDEN_WORDS = {  # philox4x64-10, key = seed, counter from 1
    0: (0x02F4BA6408E4D89B, 0x3DD62B0B9CA8C5B2, 0x1C8667A55D902E79, 0x907D7A052FD5B4DC, 0x809BF322883987C3,
        0x471128B9E807F7DD, 0xF250BA0DBEC065B7),
    1: (0x4DB6A27B756282DF, 0xD944FA03BABE0E2F, 0x27F872E577060D32, 0x07F697696A0482A2, 0xE677FE4BBD0452EC,
        0x0D543DBA56D1E799, 0xBEBE12CAD0EB4D9E),
    42: (0xD1F8817D4D62880E, 0x307266B65CC8797E, 0xDE1F04E7F084ED03, 0x65034A8E78CD1E59, 0x5E3DAA8961C3E3D3,
         0x6F37DEA4A04BD05C, 0x31D3A1AE26E190B9),
    10**9: (0x6CE2C973331A088F, 0x5E994B8AD3DE556A, 0x889118E6014FAAB5, 0xBC024E1B0591EFCB, 0x3293EAC15FF40DED,
            0xF186E1555E513F72, 0x8F4E32062DB34E70),
    2**53 - 1: (0x67AA9DD95D631AF0, 0x72782ADE4F8C3DDD, 0x5B20E4DC270D5A93, 0xD91B8A90AD486A8A, 0x9ED7116E6B86CD0C,
                0x2A7242BB60017B7D, 0x9F560AC6062E7F71),
}
GOLDEN_NORMAL = {  # float32, latent_dim 6
    0: (-2.2718842, -0.7013279, -1.2189802, 0.16217156, 0.005964819, -0.5899694),
    1: (-0.5141658, 1.0309111, -1.0104712, -1.8647755, 1.2830827, -1.6251372),
    42: (0.91612047, -0.8806796, 1.1154016, -0.26739773, -0.33681428, -0.1650654),
    10**9: (-0.18826236, -0.3331074, 0.08398044, 0.6262063, -0.85033464, 1.5845382),
    2**53 - 1: (-0.24056238, -0.13287503, -0.36925006, 1.0282186, 0.30671325, -0.9708721),
}
GOLDEN_UNIFORM = {
    0: (-0.9769065, -0.5169016, -0.7771483, 0.12882924, 0.0047592088, -0.44478884),
    1: (-0.39286393, 0.6974175, -0.68773043, -0.9377871, 0.80053693, -0.8958667),
    42: (0.6403963, -0.6215088, 0.73532164, -0.21083707, -0.2637431, -0.1311075),
    10**9: (-0.149329, -0.2609468, 0.066928014, 0.46882033, -0.6048609, 0.88692874),
    2**53 - 1: (-0.19010569, -0.10570778, -0.28805867, 0.696153, 0.24093835, -0.66838807),
}
GOLDEN_TRUNCATED = {  # truncation 0.5
    0: (-0.48748007, -0.25067487, -0.3820685, 0.061867848, 0.0022840663, -0.21511294),
    1: (-0.18967654, 0.34121537, -0.33629176, -0.4664437, 0.39417145, -0.44412762),
    42: (0.31234768, -0.30284393, 0.36056185, -0.10135931, -0.12691687, -0.06296337),
    10**9: (-0.071728215, -0.12556413, 0.03212597, 0.2269315, -0.29448977, 0.4393984),
    2**53 - 1: (-0.09136347, -0.050753612, -0.13868995, 0.34057218, 0.11589129, -0.32648483),
}
GOLDEN_LABELS = {0: (7, 23), 1: (8, 6), 42: (7, 17), 10**9: (6, 16), 2**53 - 1: (5, 1)}  # of 10 and of 24 classes
# fmt: on

MANY = 100  # seeds


def padded(seeds: list[int], length: int) -> list[int]:
    """The seeds and others behind them."""
    return [*seeds, *range(10**6, 10**6 + length - len(seeds))]


@pytest.mark.parametrize("length", [len(GOLDEN_WORDS), MANY])
def test_golden_vectors(length):
    golden = list(GOLDEN_WORDS)
    seeds = padded(golden, length)
    assert words_of(seeds, 7)[: len(golden)].tolist() == [list(words) for words in GOLDEN_WORDS.values()]
    for wanted, distribution, truncation in (
        (GOLDEN_NORMAL, "normal", None),
        (GOLDEN_UNIFORM, "uniform", None),
        (GOLDEN_TRUNCATED, "normal", 0.5),
    ):
        drawn = draw(seeds, 6, distribution, classes=10, truncation=truncation)
        assert drawn.latents.dtype == np.float32
        assert np.array_equal(drawn.latents[: len(golden)], np.array(list(wanted.values()), np.float32))
    for column, classes in enumerate((10, 24)):
        labels = draw(seeds, 6, "normal", classes=classes).labels
        assert labels is not None
        assert labels.dtype == np.int64
        assert labels[: len(golden)].tolist() == [pair[column] for pair in GOLDEN_LABELS.values()]


@pytest.mark.parametrize("n", [1, 2, 300])
@pytest.mark.parametrize("count", [1, 3, 4, 5, 65, 512])
def test_words_are_those_of_numpy(n, count):
    rng = random.Random(n * 1000 + count)
    seeds = [0, 2**53 - 1, 2**32, 2**32 - 1, *(rng.randrange(SEED_LIMIT) for _ in range(n))][:n]
    expected = np.array([np.random.Philox(key=seed).random_raw(count) for seed in seeds])
    assert np.array_equal(words_of(seeds, count), expected)


def test_an_image_does_not_depend_on_its_neighbours():
    seeds = list(range(2**53 - MANY, 2**53))
    together = draw(seeds, 33, "normal", classes=7)
    for i in (0, 1, 50, MANY - 1):
        alone = draw([seeds[i]], 33, "normal", classes=7)
        assert np.array_equal(alone.latents[0], together.latents[i])
        assert alone.labels is not None
        assert together.labels is not None
        assert alone.labels[0] == together.labels[i]
    assert draw([], 33, "normal", classes=7).latents.shape == (0, 33)


def test_threads_draw_at_the_same_time():
    expected = {seed: np.random.Philox(key=seed).random_raw(50) for seed in range(200)}

    def draw_all(offset: int) -> bool:
        seeds = [(i * 7 + offset) % 200 for i in range(2000)]
        return all(np.array_equal(words_of([seed], 50)[0], expected[seed]) for seed in seeds)

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(draw_all, range(4)))


@pytest.mark.parametrize("n", [3, MANY])
def test_a_longer_draw_starts_with_the_shorter(n):
    seeds = list(range(n))
    for distribution in ("normal", "uniform"):
        long = draw(seeds, 130, distribution).latents
        for dim in (1, 2, 63, 64, 129):
            assert np.array_equal(draw(seeds, dim, distribution).latents, long[:, :dim])
    assert np.array_equal(words_of(seeds[:2], 9), words_of(seeds, 64)[:2, :9])


def test_normal_latents_follow_the_formula():
    words = words_of(range(200), 16).tolist()
    expected = [[NORMAL.inv_cdf(((word >> 11) + 0.5) * 2.0**-53) for word in row] for row in words]
    assert np.abs(draw(range(200), 16, "normal").latents - np.array(expected)).max() < FLOAT32_TOLERANCE


@pytest.mark.parametrize("truncation", [1e-3, 0.1, 0.5, 0.7, 1.0, 2.0, 3, 10.0])
def test_truncation_stays_inside_and_follows_the_formula(truncation):
    n, dim = 400, 32
    latents = draw(range(n), dim, "normal", truncation=truncation).latents
    assert np.abs(latents).max() <= np.float32(truncation)
    low, high = NORMAL.cdf(-truncation), NORMAL.cdf(truncation)
    uniforms = ((words_of(range(n), dim) >> np.uint64(11)) + 0.5) * 2.0**-53
    expected = [NORMAL.inv_cdf(low + u * (high - low)) for u in uniforms.ravel().tolist()]
    assert np.abs(latents.ravel() - np.array(expected)).max() < FLOAT32_TOLERANCE
    if truncation <= 2:  # the whole interval is used
        assert latents.max() > 0.99 * truncation
        assert latents.min() < -0.99 * truncation


def test_uniform_latents_fill_their_interval():
    latents = draw(range(1000), 16, "uniform").latents
    assert -1 <= latents.min() < -0.999
    assert 0.999 < latents.max() <= 1
    words = words_of(range(1000), 16).astype(object)
    expected = (2.0 * (((words >> 11) + 0.5) * 2.0**-53) - 1.0).astype(np.float32)
    assert np.array_equal(latents, expected)


@pytest.mark.parametrize("classes", [1, 2, 10, 24, 1000])
def test_the_label_is_the_word_behind_the_latents(classes):
    for dim in (1, 8, 63):
        labels = draw(range(MANY), dim, "normal", classes=classes).labels
        assert labels is not None
        expected = [int(np.random.Philox(key=seed).random_raw(dim + 1)[-1]) % classes for seed in range(MANY)]
        assert labels.tolist() == expected
    assert draw([3], 8, "normal").labels is None


@pytest.mark.parametrize(
    ("seeds", "options", "reason"),
    [
        ([-1], {}, "seed -1 is out of range"),
        ([2**53], {}, "seed 9007199254740992 is out of range"),
        ([*range(50), -7], {}, "seed -7 is out of range"),
        ([1], {"truncation": 0.0}, "truncation 0.0 "),
        ([1], {"truncation": -1.0}, "truncation -1.0 "),
        ([1], {"truncation": float("nan")}, "truncation nan "),
        ([1], {"truncation": 1.0, "distribution": "uniform"}, "needs normal latents"),
    ],
)
def test_refusals(seeds, options, reason):
    with pytest.raises(ValueError, match=reason) as caught:
        draw(seeds, 4, **{"distribution": "normal", **options})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("distribution", ["normal", "uniform"])
@pytest.mark.parametrize("word", [0, 2**64 - 1])
def test_the_farthest_words_give_finite_latents(monkeypatch: pytest.MonkeyPatch, word: int, distribution: str):
    farthest = 1.0 if distribution == "uniform" else -NORMAL.inv_cdf(2.0**-54)
    monkeypatch.setattr(
        "gan_export.artifact.latents.words_of", lambda seeds, count: np.full((len(seeds), count), word, np.uint64)
    )
    (latents,) = draw([5], 3, distribution).latents
    assert latents.tolist() == pytest.approx([(farthest if word else -farthest)] * 3, rel=0.02)
