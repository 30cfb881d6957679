"""Rows of numbers rounded so that their products with what comes stay what they are."""

import numpy as np
import pytest

from gan_export.int8.gptq import MOST, nearest, round_rows

INPUTS = 40
GAIN = 0.5  # of the rounding error, what is left at most where inputs are much correlated


def mixed(rng: np.random.Generator, sources: int) -> np.ndarray:
    """What a layer is given: fewer numbers than inputs, mixed. (2000, INPUTS)"""
    return rng.standard_normal((2000, sources)) @ rng.standard_normal((sources, INPUTS))


def error(rows: np.ndarray, whole: np.ndarray, inputs: np.ndarray) -> float:
    return float(np.square(inputs @ (rows - whole).T).mean())


def test_an_error_is_made_up_for_by_an_input_that_is_always_the_same():
    same = np.ones((2, 2))
    assert nearest(np.array([[0.4, 0.4]])).tolist() == [[0, 0]]
    assert round_rows(np.array([[0.4, 0.4]]), same).tolist() == [[0, 1]]
    assert round_rows(np.array([[0.4, 0.4]]), np.array([[1, -0.99], [-0.99, 1]])).tolist() == [[0, 0]]


def test_inputs_that_have_nothing_to_do_with_each_other_are_rounded_to_the_nearest():
    rows = np.random.default_rng(0).normal(0, 40, (7, INPUTS))
    assert np.array_equal(round_rows(rows, np.diag(np.arange(1.0, INPUTS + 1))), nearest(rows))
    assert np.array_equal(round_rows(rows, np.zeros((INPUTS, INPUTS))), nearest(rows))


@pytest.mark.parametrize("block", [1, 7, INPUTS, 1000])
def test_what_is_made_of_other_inputs_has_a_smaller_error(block: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("gan_export.int8.gptq.BLOCK", block)
    rng = np.random.default_rng(1)
    inputs, rows = mixed(rng, 10), rng.normal(0, 40, (30, INPUTS))
    whole = round_rows(rows, np.cov(inputs[:1000], rowvar=False))
    assert error(rows, whole, inputs[1000:]) < GAIN * error(rows, nearest(rows), inputs[1000:])


def test_inputs_that_are_dead_or_copies_of_others_do_no_harm():
    rng = np.random.default_rng(2)
    inputs, rows = mixed(rng, 10), rng.normal(0, 40, (30, INPUTS))
    inputs[:, ::4] = 0
    inputs[:, 1::4] = inputs[:, 2::4]
    covariance = np.cov(inputs[:1000], rowvar=False)
    assert np.linalg.matrix_rank(covariance) < INPUTS / 2
    whole = round_rows(rows, covariance)
    assert np.array_equal(whole[:, ::4], nearest(rows[:, ::4]))
    assert error(rows, whole, inputs[1000:]) < GAIN * error(rows, nearest(rows), inputs[1000:])


def test_no_number_leaves_the_integers():
    rows = np.full((3, INPUTS), MOST - 0.4)
    whole = round_rows(rows, np.ones((INPUTS, INPUTS)))
    assert whole.dtype == np.int8
    assert np.abs(whole.astype(int)).max() == MOST


def test_what_is_no_covariance_rounds_to_the_nearest():
    rows = np.random.default_rng(2).normal(0, 40, (3, 2))
    rounding = np.array([[1.0, 3.0], [3.0, 1.0]])  # of sums that nearly cancel: no inputs can have it
    assert np.array_equal(round_rows(rows, rounding), nearest(rows))
