"""The figures of a certificate: errors against each reference, and bytes that differ."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from drawn import FIRST, SIZE, add, drawn_by, passes, put, redrawn, result_of

from gan_export.artifact.certificate import Options
from gan_export.artifact.evidence import FEW_VALUES, Reference, errors_of
from gan_export.artifact.verify import summarise


def test_figures_are_the_maximum_the_mean_and_the_999_of_1000():
    errors = np.zeros(100_000)
    errors[:1000], errors[:50] = 1e-3, 0.5
    found = errors_of([errors], errors.size)
    assert found.max_abs == 0.5
    assert found.mean_abs == pytest.approx(errors.mean())
    assert found.p999_abs == 1e-3  # of 99 of 100 it is 0 or next to it, of 9,999 of 10,000 it is 0.5
    assert found.psnr_db == pytest.approx(20 * np.log10(2 / np.sqrt(np.square(errors).mean())))


@pytest.mark.parametrize("count", [1, 7, 1000, 1001, 123_456])
def test_the_percentile_is_that_of_all_parts_together(count: int):
    errors = np.random.default_rng(count).standard_normal(count) ** 2
    for sizes in (1, 2, 40):
        found = errors_of(np.array_split(errors, sizes) if count > sizes else [errors], count)
        assert found.p999_abs == pytest.approx(np.quantile(errors, 0.999), rel=1e-12)
        assert found.max_abs == errors.max()
        assert found.mean_abs == pytest.approx(errors.mean(), rel=1e-12)


def test_bytes_that_differ_are_counted_in_both_directions():
    evidence = drawn_by().evidence()
    total = sum(pixels.size for pixels in evidence.reference.float32.values())
    for step in (1, -1):
        image = evidence.results[FIRST].image.copy()
        image[0] += np.uint8(step % 256)
        image[1, 0, 0, 0] = np.uint8(int(image[1, 0, 0, 0]) + 7 * step)
        other = replace(evidence.results[FIRST], image=image)
        share, steps = replace(evidence, results=evidence.results | {FIRST: other}).uint8_difference()
        assert share == pytest.approx((SIZE**2 + 1) / total)
        assert steps == 7


def test_the_reference_s_own_rounding_is_its_largest():
    evidence = drawn_by().evidence()
    exact = {name: pixels.copy() for name, pixels in evidence.reference.float64.items()}
    exact["zeros"][0, 0, 0, 0] += 0.25
    reference = replace(evidence.reference, float64=exact)
    assert replace(evidence, reference=reference).own_rounding() == pytest.approx(0.25, abs=1e-6)
    assert replace(evidence, reference=replace(reference, changed=1)).own_rounding() is None
    assert replace(evidence, reference=Reference(reference.float32)).own_rounding() is None


def test_a_certificate_states_the_errors_against_each_reference():
    evidence = redrawn(drawn_by().evidence(), "zeros", add((0, 0, 2, 1), 5e-5))
    exact = {name: pixels + 2e-5 * np.sign(pixels) for name, pixels in evidence.reference.float64.items()}
    evidence = replace(evidence, reference=replace(evidence.reference, float64=exact))
    found = summarise(evidence, Options())
    assert found.against_float32.max_abs == pytest.approx(5e-5, rel=0.01)
    assert found.against_float64.max_abs == pytest.approx(7e-5, rel=0.01)
    assert found.float32_against_float64.max_abs == pytest.approx(2e-5, rel=0.01)
    assert found.uint8_max_difference == found.uint8_differing_share == 0
    assert found.compared == sum(len(pixels) for pixels in exact.values()) < found.images


def test_pixels_that_are_no_numbers_have_no_errors_to_state():
    found = summarise(redrawn(drawn_by().evidence(), "moved0", put((0, 0, 2, 1), np.inf)), Options())
    assert found.gates[-1].code == "finite"
    assert found.against_float32 is found.against_float64 is found.uint8_max_difference is None


def test_figures_take_the_memory_of_a_few_images():
    """They are over all pixels, of which large images have gigabytes."""
    drawn = drawn_by().evidence()
    reference = drawn.reference
    float32 = {name: pixels.repeat(20, 2).repeat(20, 3) for name, pixels in reference.float32.items()}
    float64 = {name: pixels.repeat(20, 2).repeat(20, 3) for name, pixels in reference.float64.items()}
    results = {name: result_of(pixels) for name, pixels in float32.items()}
    evidence = replace(drawn, results=results, reference=Reference(float32, float64))
    total = sum(pixels.nbytes for pixels in float64.values())
    tracemalloc.start()
    for against in ("float32", "float64"):
        evidence.errors("candidate", against)
    evidence.uint8_difference()
    assert all(passes(gate, evidence) for gate in ("tolerance", "psnr", "visible", "worst_image", "uint8_rounding"))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 5 * 8 * FEW_VALUES < total / 2
