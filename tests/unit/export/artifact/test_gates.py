"""Each gate at its limit: what is just within passes, and what is just beyond fails."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from drawn import (
    CLASSES,
    DIM,
    EXACT,
    FIRST,
    LEFT_OUT,
    NEAR,
    SIZE,
    Edit,
    add,
    drawn_by,
    gate_of,
    passes,
    put,
    redrawn,
    result_of,
)

from gan_export.artifact.candidate import Result
from gan_export.artifact.cases import labels_drawn
from gan_export.artifact.certificate import Gate, Options
from gan_export.artifact.evidence import Evidence, Reference
from gan_export.artifact.gates import NOISE_ADVICE, RULES, judge, judge_reference, rules_of
from gan_export.artifact.pixels import to_uint8
from gan_export.artifact.providers import CPU, CUDA_TF32, OPENVINO_BF16, Provider


def codes_of(gates: list[Gate]) -> list[str]:
    return [gate.code for gate in gates]


ONE = (3, 0, 2, 1)  # a pixel


@pytest.mark.parametrize("variant", [EXACT, NEAR])
@pytest.mark.parametrize(("classes", "distribution"), [(CLASSES, "normal"), (0, "uniform"), (2, "uniform")])
def test_without_a_fault_all_gates_pass(variant: str, classes: int, distribution: str):
    evidence = drawn_by(classes, distribution).evidence(variant)
    gates = judge(evidence, Options())
    wanted = [rule.code for rule in rules_of(variant) if classes or rule.code != "labels_matter"]
    assert codes_of(gates) == wanted
    assert all(gate.passed and not gate.allowed for gate in gates)
    assert gates[0].measured == 0


@pytest.mark.parametrize(("inside", "outside"), [(1 + 9e-7, 1 + 2e-6), (-1 - 9e-7, -1 - 2e-6)])
def test_pixels_are_on_the_declared_range(inside: float, outside: float):
    evidence = drawn_by().evidence()
    assert passes("value_range", redrawn(evidence, LEFT_OUT[1], put(ONE, inside)))
    assert not passes("value_range", redrawn(evidence, LEFT_OUT[1], put(ONE, outside)))


@pytest.mark.parametrize("sign", [1, -1])
def test_pixels_use_both_halves_of_the_range(sign: int):
    """A sigmoid that was declared as tanh, and the same upside down."""
    evidence = drawn_by().evidence()
    half = {name: result_of(sign * (result.pixels + 1) / 2) for name, result in evidence.results.items()}
    gate = gate_of("value_range", replace(evidence, results=half))
    assert not gate.passed
    assert gate.measured == pytest.approx(1, abs=0.1)  # what is missing of the other half
    one_beyond = redrawn(replace(evidence, results=half), FIRST, put(ONE, -0.01 * sign))
    assert passes("value_range", one_beyond)


def test_the_largest_error_of_a_pixel_decides():
    evidence = drawn_by().evidence()
    for case in (FIRST, LEFT_OUT[0]):
        assert passes("tolerance", redrawn(evidence, case, add((0, 0, 2, 1), 0.98e-4)))
        beyond = redrawn(evidence, case, add((0, 0, 2, 1), 1.02e-4))
        gate = gate_of("tolerance", beyond)
        assert not gate.passed
        assert f"worst case: {case}; the reference's own float32 rounding is " in gate.what
        assert passes("tolerance", beyond, Options(tolerance=1.03e-4))
        assert not passes("tolerance", redrawn(evidence, case, add((0, 0, 2, 1), 0.5e-4)), Options(tolerance=1e-5))


def test_what_is_measured_at_the_limit_passes():
    evidence = drawn_by().evidence()
    gate = gate_of("tolerance", redrawn(evidence, FIRST, add(ONE, 1e-3)))
    assert passes("tolerance", redrawn(evidence, FIRST, add(ONE, 1e-3)), Options(tolerance=gate.measured))


@pytest.mark.parametrize(
    ("steps", "byte", "passed"),
    [
        (100.5009, 100, True),  # a tie, within what float32 may do
        (100.4991, 101, True),
        (100.51, 100, False),
        (100.49, 101, False),
        (300.0, 255, True),  # a graph that goes too far, which is let through
        (-20.0, 0, True),
        (0.0, 255, False),  # the distance must not wrap around
    ],
)
def test_bytes_are_the_rounded_pixels(steps: float, byte: int, passed: bool):
    evidence = drawn_by().evidence()
    result = redrawn(evidence, FIRST, put(ONE, steps / 127.5 - 1)).results[FIRST]
    image = result.image.copy()
    image[ONE] = byte
    found = replace(evidence, results=evidence.results | {FIRST: replace(result, image=image)})
    gate = gate_of("uint8_rounding", found)
    assert (gate.passed, gate.measured) == (passed, 0 if passed else 1)


def everywhere(evidence: Evidence, edit: Edit) -> Evidence:
    for case in evidence.reference.float32:
        if case not in LEFT_OUT:
            evidence = redrawn(evidence, case, edit)
    return evidence


def test_the_mean_error_of_a_near_variant_is_40_db():
    evidence = drawn_by().evidence(NEAR)
    assert passes("psnr", everywhere(evidence, add(slice(None), 0.0198)))
    assert not passes("psnr", everywhere(evidence, add(slice(None), 0.0202)))
    # Of half the pixels, twice the square: it is not the mean of what differs.
    half = (slice(None), slice(None), slice(0, SIZE // 2))
    assert passes("psnr", everywhere(evidence, add(half, 0.0198 * 2**0.5)))
    assert not passes("psnr", everywhere(evidence, add(half, 0.0202 * 2**0.5)))


def test_the_worst_image_of_a_near_variant_is_20_db():
    evidence = drawn_by().evidence(NEAR)
    last = "seed4503599627370496_batch1"
    for case, image in ((FIRST, 40), (last, 0)):
        assert passes("worst_image", redrawn(evidence, case, add(image, 0.198)))
        gate = gate_of("worst_image", redrawn(evidence, case, add(image, 0.202)))
        assert not gate.passed
        assert f"in {case})" in gate.what


@pytest.mark.parametrize(("steps", "share", "passed"), [(5, 0.0198, True), (5, 0.0202, False), (4, 1.0, True)])
def test_two_of_a_hundred_bytes_of_a_near_variant_may_be_seen(steps: int, share: float, passed: bool):
    evidence = drawn_by().evidence(NEAR)
    usual = [name for name in evidence.reference.float32 if name not in LEFT_OUT]
    left = round(share * sum(evidence.results[name].image.size for name in usual))
    results = dict(evidence.results)
    for name in usual:
        image = results[name].image.copy()
        some = image.reshape(-1)[:left]
        left -= some.size
        some += np.where(some < 128, steps, -steps).astype(np.uint8)
        results[name] = replace(results[name], image=image)
    assert passes("visible", replace(evidence, results=results)) == passed


@pytest.mark.parametrize("distribution", ["normal", "uniform"])
@pytest.mark.parametrize("code", ["psnr", "visible", "worst_image"])
def test_images_of_the_tails_are_for_the_exact_variant_alone(code: str, distribution: str):
    evidence = drawn_by(distribution=distribution).evidence(NEAR)
    other = redrawn(evidence, "tails", lambda pixels: -pixels)
    assert passes(code, other)
    assert not passes("tolerance", other)
    only_tails = Reference({"tails": evidence.reference.float32["tails"]})
    assert gate_of(code, replace(evidence, reference=only_tails)) is None


@pytest.mark.parametrize(("code", "case"), [("deterministic", "repeat"), ("batch_invariant", "alone11")])
def test_the_same_inputs_give_the_same_image(code: str, case: str):
    """To the last bit of the float pixels, and of the bytes."""
    evidence = drawn_by().evidence()
    result = evidence.results[case]
    pixels, image = result.pixels.copy(), result.image.copy()
    pixels[-1, 0, 5, 5] = np.nextafter(pixels[-1, 0, 5, 5], np.float32(0))
    image[-1, 0, 5, 5] ^= 1
    for other in (replace(result, pixels=pixels), replace(result, image=image)):
        gate = gate_of(code, replace(evidence, results=evidence.results | {case: other}))
        assert (gate.passed, gate.measured) == (False, 1)


@pytest.mark.parametrize(
    ("code", "of_reference"),
    [
        ("deterministic", {"changed": 3}),
        ("batch_invariant", {"moved": 3}),
        ("evaluation_mode", {"in_train_mode": "abc"}),
    ],
)
def test_a_generator_that_does_not_keep_the_promise_fails_before_it_is_exported(
    code: str, of_reference: dict[str, Any]
):
    evidence = drawn_by().evidence()
    broken = replace(evidence.reference, **of_reference)
    gate = gate_of(code, replace(evidence, reference=broken))
    assert (gate.passed, gate.measured) == (False, 3)
    (*_, failed) = judge_reference(evidence.manifest, broken, Options())
    assert (failed.code, failed.failed) == (code, True)


def test_shapes_and_types_are_those_that_were_declared():
    evidence = drawn_by().evidence()
    right = evidence.results[FIRST]
    wide = right.pixels.reshape(64, 1, SIZE // 2, 2 * SIZE)
    for code, other in (
        ("shape", replace(right, pixels=wide)),
        ("shape", replace(right, image=right.image.reshape(wide.shape))),
        ("shape", Result(right.image[1:], right.pixels[1:])),
        ("dtype", replace(right, pixels=right.pixels.astype(np.float64))),
        ("dtype", replace(right, image=right.image.astype(np.int16))),
    ):
        gate = gate_of(code, replace(evidence, results=evidence.results | {FIRST: other}))
        assert (gate.passed, gate.measured) == (False, 1)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_pixel_that_is_no_number_is_found(value: float):
    pixels = drawn_by().evidence().results["zeros"].pixels.copy()
    pixels[1, 0, 5, 5] = value
    evidence = drawn_by().evidence()
    result = replace(evidence.results["zeros"], pixels=pixels)
    gate = gate_of("finite", replace(evidence, results=evidence.results | {"zeros": result}))
    assert (gate.passed, gate.measured) == (False, 1)


@pytest.mark.parametrize("classes", [2, CLASSES])
def test_a_label_that_draws_another_s_image_is_found(classes: int):
    evidence = drawn_by(classes).evidence()
    same = redrawn(evidence, "labels0", lambda pixels: put(classes - 1, pixels[0])(pixels))
    gate = gate_of("labels_matter", same)
    assert (gate.passed, gate.measured) == (False, 1)
    assert f"images 0 and {classes - 1} are identical" in gate.what


@pytest.mark.parametrize("modulus", [2, 611, 1100, 1999])
def test_of_many_labels_some_are_drawn_and_any_modulus_shows(modulus: int):
    drawn = drawn_by(2000)
    embeddings = drawn.embeddings[np.arange(2000) % modulus]
    gate = gate_of("labels_matter", replace(drawn, embeddings=embeddings).evidence())
    assert not gate.passed
    assert f"; of 2000 labels {len(labels_drawn(2000))} were drawn" in gate.what
    same = re.search(r"images (\d+) and (\d+) are identical", gate.what)
    assert (int(same[2]) - int(same[1])) % modulus == 0
    assert passes("labels_matter", drawn.evidence())


@pytest.mark.parametrize("classes", [0, 1, 3, 1024, 1025, 9999, 100_000])
def test_among_the_labels_that_are_drawn_two_are_any_number_apart(classes: int):
    labels = labels_drawn(classes)
    apart = np.unique(np.abs(labels[:, None] - labels[None]))
    assert np.array_equal(apart, np.arange(classes))
    assert len(labels) <= max(1024, 3 * classes**0.5 + 3)


def test_one_class_has_nothing_to_be_told_from():
    assert gate_of("labels_matter", drawn_by(1).evidence()) is None


def test_each_number_of_a_latent_must_move_a_pixel():
    evidence = drawn_by().evidence()
    for row in range(1, DIM + 1):
        gate = gate_of("latents_matter", redrawn(evidence, "moved0", lambda pixels, i=row: put(i, pixels[0])(pixels)))
        assert (gate.passed, gate.measured) == (False, 1)
        assert f"moving dimension {row - 1} of the latent changes no pixel" in gate.what

    def but_for_one_pixel(pixels: np.ndarray) -> None:
        moved = pixels[2, 0, 0, 0]
        pixels[2] = pixels[0]
        pixels[2, 0, 0, 0] = moved

    assert passes("latents_matter", redrawn(evidence, "moved0", but_for_one_pixel))


def test_a_number_that_few_bits_may_hide_is_not_missed():
    """In int8, and in a graph that rounds its pixels itself; the same pixels but a little off are told apart."""
    evidence = redrawn(drawn_by().evidence(), "moved0", lambda pixels: put(1, pixels[0])(pixels))
    assert not passes("latents_matter", evidence)
    assert passes("latents_matter", replace(evidence, variant=NEAR))
    assert passes("latents_matter", replace(evidence, provider=CUDA_TF32))
    assert passes("latents_matter", redrawn(evidence, "moved0", whole_steps))
    assert not passes("latents_matter", redrawn(evidence, "moved0", lambda pixels: whole_steps(pixels) + 0.1 / 127.5))


def whole_steps(pixels: np.ndarray) -> np.ndarray:
    return (np.float32(1 / 127.5) * to_uint8(pixels) - 1).astype(np.float32)


def test_the_first_gate_that_fails_ends_it_unless_it_may():
    evidence = redrawn(drawn_by().evidence(), "zeros", put((0, 0, 2, 1), 1.5))
    gates = judge(evidence, Options())
    assert codes_of(gates)[-1] == "value_range"
    assert [gate.failed for gate in gates] == [False] * (len(gates) - 1) + [True]
    let = judge(evidence, Options(allowed=("value_range", "tolerance", "latents_matter")))
    assert codes_of(let) == [rule.code for rule in RULES]
    assert [gate.code for gate in let if gate.allowed] == ["value_range", "tolerance"]  # the third one passed


def test_what_can_not_be_judged_does_not_end_it():
    evidence = replace(drawn_by().evidence(), reference=Reference({}))
    assert codes_of(judge(evidence, Options())) == [rule.code for rule in RULES if rule.code != "tolerance"]


@pytest.mark.parametrize("noisy", [{"changed": 1}, None], ids=["in the reference", "told by the manifest"])
def test_noise_is_named_where_it_may_be_the_cause_and_nowhere_else(noisy: dict[str, int] | None):
    quiet = redrawn(redrawn(drawn_by().evidence(), "alone11", add(0, 0.1)), FIRST, put(ONE, 1.5))
    if noisy is not None:
        evidence = replace(quiet, reference=replace(quiet.reference, **noisy))
    else:
        promises = quiet.manifest.properties.model_copy(update={"deterministic": False})
        evidence = replace(quiet, manifest=quiet.manifest.model_copy(update={"properties": promises}))
    for code, named in (("batch_invariant", True), ("tolerance", True), ("value_range", False)):
        assert (gate_of(code, evidence).advice == NOISE_ADVICE) == named
        assert gate_of(code, quiet).advice != NOISE_ADVICE
    assert "own float32 rounding" not in gate_of("tolerance", evidence).what


@pytest.mark.parametrize(
    ("variant", "provider", "near"),
    [(EXACT, CPU, False), (NEAR, CPU, True), (EXACT, CUDA_TF32, True), (EXACT, OPENVINO_BF16, True)],
)
def test_how_near_is_asked_of_what_is_not_float32(variant: str, provider: Provider, near: bool):
    codes = [rule.code for rule in rules_of(variant, provider)]
    assert ("tolerance" in codes) == (not near)
    assert {"psnr", "visible", "worst_image"}.issubset(codes) == near
    assert len(codes) == len(set(codes)) == len(RULES) + (2 if near else 0)
