"""Where in a file the weights of a known class are, whatever stands before their names."""

from typing import Any

import pytest
import torch
from torch import Tensor

from gan_export.refusal import IntakeError
from gan_export.weights.copies import find_copy

NAMES = ("layer.weight", "layer.bias", "norm.num_batches_tracked")


def weights(fill: float = 0.0) -> dict[str, Tensor]:
    return {"layer.weight": torch.full((2, 2), fill), "layer.bias": torch.full((2,), fill)}


def below(head: str, fill: float = 0.0) -> dict[str, Tensor]:
    return {f"{head}.{name}": value for name, value in weights(fill).items()}


OTHERS = {"discriminator.layer.weight": torch.ones(2, 2), "discriminator.layer.bias": torch.ones(2)}
STATE = {"global_step": 7, "optimizer_states": [{"param_groups": [], "state": {0: {"exp_avg": torch.ones(2)}}}]}


@pytest.mark.parametrize(
    ("tree", "path"),
    [
        (weights(), ""),
        (weights() | {"norm.num_batches_tracked": torch.tensor(5)}, ""),
        ({"state_dict": below("gan.net") | OTHERS, **STATE}, "state_dict.gan.net"),
        (below("module"), "module"),
        (below("module._orig_mod"), "module._orig_mod"),
        (below("g_mapping") | OTHERS, "g_mapping"),
        ({"models": {"netD": weights(), "net": weights()}}, "models.net"),
    ],
)
def test_a_copy_is_found_by_the_names_of_the_class(tree: Any, path: str) -> None:
    found = find_copy(tree, NAMES, "ema")
    assert found is not None
    assert found[0] == path
    assert {name for name in found[1] if name in weights()} == set(weights())


@pytest.mark.parametrize(("wanted", "path", "fill"), [("ema", "state.model_ema", 2.0), ("raw", "state.model", 1.0)])
def test_of_two_copies_it_is_the_one_that_is_wanted(wanted: Any, path: str, fill: float) -> None:
    found = find_copy({"state": below("model", 1.0) | below("model_ema", 2.0)}, NAMES, wanted)
    assert found is not None
    assert found[0] == path
    assert float(found[1]["layer.bias"][0]) == fill


def test_names_of_a_class_that_look_like_nets_are_its_own() -> None:
    names = ["generator.weight", "encoder.weight", "module.0.weight"]
    found = find_copy({name: torch.ones(2, 2) for name in names}, names, "ema")
    assert found is not None
    assert found[0] == ""


@pytest.mark.parametrize(
    "tree",
    [
        {"layer.weight": torch.ones(2, 2)},
        weights() | {"more.weight": torch.ones(2, 2)},
        {"G": weights(), "G_ema": {"layer.weight": torch.ones(2, 2)}},  # named, and not whole
    ],
)
def test_what_is_no_whole_copy_or_an_unfinished_average_is_left_to_the_names(tree: Any) -> None:
    assert find_copy(tree, NAMES, "ema") is None


@pytest.mark.parametrize(
    ("average", "place"),
    [
        ({"model_ema.layerweight": torch.ones(2, 2), "model_ema.decay": torch.tensor(0.9)}, "state.model_ema"),
        ({"callbacks": {"EMA": {"ema_weights": [torch.ones(2, 2)]}}}, "callbacks.EMA.ema_weights"),
        ({"G_ema": {"params": [torch.ones(2, 2)]}}, "G_ema.params"),
    ],
)
def test_averaged_weights_under_other_names_are_not_passed_over(average: Any, place: str) -> None:
    flat = place.startswith("state.")
    tree = {"state": below("model") | average} if flat else {"state": below("model"), **average}
    with pytest.raises(IntakeError, match=f"averaged weights at '{place}' don't have the generator's own names"):
        find_copy(tree, NAMES, "ema")
    found = find_copy(tree, NAMES, "raw")
    assert found is not None
    assert found[0] == "state.model"


@pytest.mark.parametrize(
    "others",
    [
        {"D_ema": {"conv.weight": torch.ones(2, 2)}},
        {"perceptual": {"smooth.weight": torch.ones(2, 2)}},
        {"ema": {"decay": torch.tensor(0.9), "updates": 3}},
    ],
)
def test_what_is_no_average_of_the_generator_is_passed_over(others: Any) -> None:
    for generator, names in (({"net": below("ema_block")}, [f"ema_block.{name}" for name in NAMES]), (STATE, NAMES)):
        found = find_copy({"net": weights(), **generator, **others}, names, "ema")
        assert found is not None
        assert found[0] == "net"


def test_two_copies_that_nothing_tells_apart_are_asked_for() -> None:
    with pytest.raises(IntakeError, match="2 state dicts fit the class: 'a', 'b'; choose with --weights-key"):
        find_copy({"a": weights(), "b": weights()}, NAMES, "ema")
