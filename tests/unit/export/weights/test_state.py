"""From what a weights file holds to the generator's plain weights: found, chosen, unwrapped, folded, loaded."""

from collections import OrderedDict
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gan_export.refusal import IntakeError
from gan_export.weights.state import (
    choose_state,
    clean_state,
    find_states,
    is_averaged,
    unwrap,
)

State = dict[str, Tensor]


def small_net() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


def weights(value: float = 0.0) -> State:
    return {"0.weight": torch.full((2, 2), float(value)), "0.bias": torch.zeros(2)}


def value_of(state: State) -> float:
    return float(next(iter(state.values())).flatten()[0])


def optimizer_state() -> dict[str, Any]:
    net = small_net()
    optimizer = torch.optim.Adam(net.parameters())
    net(torch.randn(5, 3)).sum().backward()
    optimizer.step()
    return optimizer.state_dict()


class TestFinding:
    def test_every_state_dict_by_its_path(self):
        tree = {
            "epoch": 3,
            "nets": {"G": weights(1), "D": OrderedDict(weights(2))},
            "rest": [weights(3), "text"],
            "noise": torch.zeros(4, 4),
        }
        states = find_states(tree)
        assert {path: value_of(state) for path, state in states.items()} == {"nets.G": 1, "nets.D": 2, "rest.0": 3}
        assert list(find_states(weights())) == [""]

    @pytest.mark.parametrize("note", [3, 0.5, True, "dcgan"])
    def test_notes_between_the_tensors_of_a_module_are_left_out(self, note: object):
        states = find_states({"epoch": note, **weights(1), "note": note})
        assert list(states[""]) == list(weights())
        assert find_states({"fixed_noise": torch.zeros(2, 2), "epoch": note}) == {}

    def test_what_is_no_state_dict(self):
        assert find_states({"vector": torch.zeros(3), "steps": torch.tensor(3)}) == {}
        assert find_states({"ids": torch.zeros(2, 2, dtype=torch.int64)}) == {}
        assert find_states({"w": torch.zeros(2, 2), "lr": 0.1}) == {}
        assert find_states({1: torch.zeros(2, 2)}) == {}
        assert find_states([1, "x", None]) == {}

    def test_what_a_class_saves_beside_tensors(self):
        extras = {"_extra_state": {"inner": weights()}, "0._extra_state": None, "1._extra_state": "text"}
        assert list(find_states(weights() | extras)) == [""]
        assert find_states({"_extra_state": None, "bias": torch.zeros(2)}) == {}
        assert find_states(weights() | {"extra_state": None}) == {}

    def test_optimizers_are_left_out(self):
        state = optimizer_state()
        assert find_states({"optim": state, "all": [state], "inside": state["state"], "G": weights()}).keys() == {"G"}

    def test_a_tree_that_holds_itself(self):
        tree: dict[str, Any] = {"G": weights()}
        tree["again"] = tree
        tree["list"] = [tree, tree["G"]]
        assert find_states(tree).keys() == {"G", "list.1"}


class TestChoosing:
    @pytest.mark.parametrize(
        ("tree", "mode", "path"),
        [
            (weights(), "ema", ""),
            ({"params": weights()}, "raw", "params"),
            ({"anything": weights()}, "ema", "anything"),
            ({"G": weights(), "D": weights(), "G_ema": weights()}, "ema", "G_ema"),
            ({"G": weights(), "D": weights(), "G_ema": weights()}, "raw", "G"),
            ({"g_ema": weights(), "g": weights(), "d": weights(), "g_optim": optimizer_state()}, "ema", "g_ema"),
            ({"ema": weights(), "model": weights()}, "ema", "ema"),
            ({"ema": weights(), "model": weights()}, "raw", "model"),
            ({"ema": {"G": weights(), "D": weights()}, "G": weights()}, "ema", "ema.G"),
            ({"netG": weights(), "netD": weights()}, "ema", "netG"),
            ({"net_G": weights(), "net_D": weights()}, "raw", "net_G"),
            ({"generator": weights(), "critic": weights(), "epoch": 9}, "ema", "generator"),
            ({"generator_state_dict": weights(), "discriminator_state_dict": weights()}, "ema", "generator_state_dict"),
            ({"modelG": {"state_dict": weights()}, "modelD": {"state_dict": weights()}}, "ema", "modelG.state_dict"),
            ({"model_state_dict": weights(), "optimizer_state_dict": optimizer_state()}, "ema", "model_state_dict"),
            ({"model": weights(), "embeddings": weights()}, "ema", "model"),
            ({"generator_2d": weights(), "other": weights()}, "ema", "generator_2d"),
            ({"G_ema": weights()}, "raw", "G_ema"),
        ],
    )
    def test_by_well_known_names(self, tree: Any, mode: Any, path: str):
        assert choose_state(tree, None, mode)[0] == path

    def test_whether_they_are_averaged_is_told_by_the_path(self):
        assert [is_averaged(path) for path in ("G_ema", "EMA.model", "netGEma", "Gs", "schema.G", "G")] == (
            [True] * 4 + [False] * 2
        )

    def test_two_nets_in_one_state_dict(self):
        flat = {f"{net}.{key}": value for net in ("netG", "netD") for key, value in weights().items()}
        path, state = choose_state({"state_dict": flat, "epoch": 3}, None, "ema")
        assert (path, state.keys()) == ("state_dict.netG", weights().keys())
        path, state = choose_state({f"module.{key}": value for key, value in flat.items()}, None, "ema")
        assert (path, state.keys()) == ("netG", weights().keys())
        averaged = {"initted": torch.tensor(True), "step": torch.tensor(9)}
        for i, net in enumerate(("online_model", "ema_model")):
            averaged |= {f"{net}.{key}": value for key, value in weights(i).items()}
        for mode, expected in (("ema", "ema_model"), ("raw", "online_model")):
            path, state = choose_state(averaged, None, mode)
            assert (path, state.keys()) == (expected, weights().keys())

    def test_a_generator_with_a_part_of_that_name_stays_whole(self):
        state = {"gen.weight": torch.zeros(2, 2), "embed.weight": torch.zeros(2, 2)}
        assert choose_state(state, None, "ema") == ("", state)

    def test_the_key_that_was_asked_for(self):
        tree = {"a": weights(1), "b": {"c": {"state_dict": weights(2)}}, "D": weights(3)}
        tree["flat"] = {"gen.0.weight": torch.full((2, 2), 4.0), "other.0.weight": torch.full((2, 2), 5.0)}
        for key, value in (("a", 1), ("b.c.state_dict", 2), ("b", 2), ("b.c", 2), ("D", 3), ("flat.gen", 4)):
            path, state = choose_state(tree, key, "ema")
            assert (path, value_of(state)) == (key, value)
        assert choose_state(tree, "flat.gen", "ema")[1].keys() == {"0.weight"}
        with pytest.raises(
            IntakeError, match=r"^--weights-key 'x': there is no state dict; there are: 'a', 'D', 'flat',"
        ):
            choose_state(tree, "x", "ema")

    @pytest.mark.parametrize(
        ("tree", "message"),
        [
            (
                {"netG_A": weights(), "netG_B": weights()},
                r"2 state .* generator: 'netG_A', 'netG_B'; choose .*weights-key",
            ),
            (
                {"x": weights(), "y": weights()},
                r"2 state dicts could be the generator: 'x', 'y'; choose with --weights-key",
            ),
            ({"netD": weights()}, r"only weights of networks other than a generator: 'netD'; if .* give --weights-key"),
            (
                {"epoch": 3, "name": "x"},
                r"no state dict in the file, only: 'epoch', 'name'; save generator.state_dict\(\)",
            ),
            (
                {"net": {"fc.weight": torch.ones(2, 2, dtype=torch.int8)}},
                r"'net.fc.weight' holds int8, and weights are floats; save them as floats",
            ),
            ({}, r"the file's dict is empty: save generator\.state_dict\(\)"),
            (optimizer_state(), "the state of an optimizer but no weights"),
            (torch.zeros(3), "the file holds a Tensor, not a state dict"),
            ({"shadow_params": [torch.zeros(2, 2)], "decay": 0.9}, "'shadow_params' don't have the generator's own"),
            (
                {"G": weights(), "ema": {"shadow": [torch.zeros(2, 2)]}},
                r"'ema.shadow' don't have the generator's own names; .* or give --weights raw",
            ),
            (
                {"state_dict": {"model.a.weight": torch.zeros(2, 2), "model_ema.aweight": torch.zeros(2, 2)}},
                r"averaged weights at 'state_dict\.model_ema' don't have the generator's own names",
            ),
            ({f"{i}\n{'x' * 200}": weights() for i in range(20)}, r"20 state dicts .* and 12 more; choose"),
        ],
    )
    def test_what_can_t_be_chosen(self, tree: Any, message: str):
        with pytest.raises(IntakeError, match=message) as refusal:
            choose_state(tree, None, "ema")
        assert "\n" not in str(refusal.value)
        assert len(str(refusal.value)) < 1200

    def test_an_average_without_names_does_not_matter_for_raw_weights(self):
        tree = {"G": weights(), "ema": {"shadow_params": [torch.zeros(2, 2)]}}
        assert choose_state(tree, None, "raw")[0] == "G"


class TestUnwrapping:
    def test_wrappers_of_torch(self):
        net = small_net()
        expected = net.state_dict()
        averaged = torch.optim.swa_utils.AveragedModel(net)
        parallel = nn.DataParallel(net)
        for wrapped in (
            net,
            averaged,
            parallel,
            torch.compile(net),
            torch.compile(parallel),
            nn.DataParallel(averaged),
        ):
            state = clean_state(wrapped.state_dict())
            if isinstance(wrapped, nn.DataParallel) and wrapped.module is averaged:
                state = clean_state(state)
            assert state.keys() == expected.keys()
            assert all(torch.equal(state[key], expected[key]) for key in expected)
        inner = nn.Sequential(torch.compile(net))
        assert clean_state(inner.state_dict()).keys() == nn.Sequential(net).state_dict().keys()

    def test_a_part_called_module_is_no_wrapper(self):
        state = {"module.weight": torch.zeros(2, 2), "head.weight": torch.zeros(2, 2)}
        assert clean_state(state) == state

    def test_prefixes_go_where_the_net_s_own_keys_appear(self):
        net = small_net()
        expected = net.state_dict().keys()
        inside = nn.ModuleDict({"gan": nn.ModuleDict({"generator": net})}).state_dict()
        assert unwrap(inside, expected).keys() == expected
        assert unwrap(net.state_dict(), expected).keys() == expected
        assert unwrap(inside, inside.keys()).keys() == inside.keys()
        assert unwrap(inside, {"something", "else"}).keys() == inside.keys()
