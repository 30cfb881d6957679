"""Which layers go to int8: those with the most work for the error, found with few looks."""

import math
from typing import NamedTuple

import pytest

from gan_export.int8.layer_choice import choose

MAY_PASS = 1.5  # error of which a choice may pass all the same


class AnyDeviation(NamedTuple):
    error: float

    @property
    def may_pass(self) -> bool:
        return self.error <= MAY_PASS

    @property
    def distance(self) -> float:
        return math.sqrt(self.error)


def choice(errors: dict[str, float], costs: dict[str, float]) -> tuple[tuple[str, ...], float, int]:
    """Of layers whose errors add up and may be 1; what is chosen, its error, and how many looks that took."""
    looks: dict[tuple[str, ...], AnyDeviation] = {}

    def look(layers: tuple[str, ...]) -> AnyDeviation:
        return looks.setdefault(layers, AnyDeviation(sum(errors[layer] for layer in layers)))

    chosen, seen = choose(costs, look)
    assert seen == look(chosen)
    return chosen, seen.error, len(looks)


def test_one_look_is_enough_where_all_may_go():
    assert choice({"a": 0.5, "b": 0.4}, {"a": 1, "b": 1}) == (("a", "b"), 0.9, 1)


def test_the_large_layer_goes_though_its_error_is_the_largest():
    chosen, _, _ = choice({"a": 0.6, "b": 0.7, "c": 0.2}, {"a": 1, "b": 100, "c": 50})
    assert chosen == ("b", "c")


def test_what_stands_behind_a_layer_that_is_too_much_is_tried_too():
    chosen, error, _ = choice({"a": 0.3, "b": 0.9, "c": 0.1}, {"a": 10, "b": 20, "c": 1})
    assert chosen == ("a", "c")
    assert error == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("errors", "chosen"), [({"a": 3.0, "b": 2.0, "c": 4.0}, ("b",)), ({"a": 2.0}, ("a",)), ({"a": 0.1}, ("a",))]
)
def test_where_none_is_near_enough_it_is_the_nearest(errors: dict[str, float], chosen: tuple[str, ...]):
    assert choice(errors, dict.fromkeys(errors, 1.0))[0] == chosen


@pytest.mark.parametrize(
    ("errors", "costs", "chosen"),
    [
        ({"a": 0.5, "b": 1.2}, {"a": 10, "b": 21}, ("b",)),
        ({"a": 0.5, "b": 1.2}, {"a": 10, "b": 20}, ("a",)),
        ({"a": 0.5, "b": 1.6}, {"a": 10, "b": 100}, ("a",)),
        ({"a": 1.1, "b": 1.4, "c": 1.6}, {"a": 10, "b": 11, "c": 100}, ("b",)),
        ({"a": 0.3, "b": 0.4, "c": 1.2}, {"a": 10, "b": 11, "c": 42}, ("a", "b")),
        ({"a": 0.3, "b": 0.4, "c": 1.2}, {"a": 10, "b": 11, "c": 43}, ("c",)),
    ],
    ids=["twice the work", "not twice", "too far off", "the most work", "less than twice that of two", "of two"],
)
def test_one_that_may_pass_is_worth_it_where_it_has_far_more_work(
    errors: dict[str, float], costs: dict[str, float], chosen: tuple[str, ...]
):
    assert choice(errors, costs)[0] == chosen


def test_looks_grow_with_the_number_of_layers_and_not_with_its_square():
    errors = {f"layer{i}": 0.01 * (i % 7 + 1) for i in range(50)}
    chosen, error, looks = choice(errors, dict.fromkeys(errors, 1.0))
    assert 0.9 < error <= 1
    assert looks <= 1 + 50 + 6 + (50 - len(chosen))
