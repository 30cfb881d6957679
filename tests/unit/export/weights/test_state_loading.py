"""Weights as a module takes them: folded spectral and weight norms, and what fits no layer."""

import warnings
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from gan_export.refusal import IntakeError
from gan_export.weights.loading import load_exactly
from gan_export.weights.norms import fold_norms

TOLERANCE = 1e-6


def small_net() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


class WithExtra(nn.Linear):
    """Saves something beside its tensors."""

    extra: Any = 1

    def __init__(self) -> None:
        super().__init__(2, 2)

    def get_extra_state(self) -> Any:
        return self.extra

    def set_extra_state(self, state: Any) -> None:
        if state == "bad":
            raise ValueError("no such state")
        self.extra = state


def trained(layer: nn.Module, inputs: Tensor) -> nn.Module:
    """After some steps of training, which leave u and v a step behind the weight."""
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.05)
    for _ in range(20):
        optimizer.zero_grad()
        (layer(inputs) - 1).square().mean().backward()
        optimizer.step()
    return layer.eval()


def old_weight_norm(layer: nn.Module, **options: Any) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return nn.utils.weight_norm(layer, **options)


LAYERS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "linear": (lambda: nn.Linear(6, 5), (4, 6)),
    "square linear": (lambda: nn.Linear(6, 6), (4, 6)),
    "convolution": (lambda: nn.Conv2d(3, 5, 3), (2, 3, 6, 6)),
    "square convolution": (lambda: nn.Conv2d(8, 8, 3), (2, 8, 6, 6)),
    "transposed": (lambda: nn.ConvTranspose2d(3, 5, 4), (2, 3, 4, 4)),
    "square transposed": (lambda: nn.ConvTranspose2d(8, 8, 4), (2, 8, 4, 4)),
    "convolution to one": (lambda: nn.Conv2d(4, 1, 3), (2, 4, 6, 6)),
}
NORMS: dict[str, Callable[..., nn.Module]] = {
    "spectral, old": nn.utils.spectral_norm,
    "spectral": parametrizations.spectral_norm,
    "weight, old": old_weight_norm,
    "weight": parametrizations.weight_norm,
}


class TestFolding:
    @pytest.mark.parametrize("layer", LAYERS)
    @pytest.mark.parametrize("norm", NORMS)
    @torch.random.fork_rng(devices=[])
    def test_a_folded_layer_computes_the_same(self, norm: str, layer: str):
        torch.manual_seed(5)
        make, shape = LAYERS[layer]
        inputs = torch.randn(shape)
        normed = nn.Sequential(OrderedDict(first=trained(NORMS[norm](make()), inputs))).eval()
        plain = nn.Sequential(OrderedDict(first=make())).eval()
        load_exactly(plain, fold_norms(normed.state_dict()))
        with torch.no_grad():
            assert (plain(inputs) - normed(inputs)).abs().max() < TOLERANCE
            assert normed(inputs).abs().max() > 0.1

    @pytest.mark.parametrize("norm", ["weight, old", "weight"])
    @pytest.mark.parametrize("dim", [None, 0, 1])
    def test_weight_norm_over_any_dimension(self, norm: str, dim: int | None):
        layer = NORMS[norm](nn.Conv2d(3, 5, 3), dim=dim).eval()
        with torch.no_grad():
            for name, parameter in layer.named_parameters():
                if name.endswith(("_g", "original0")):
                    parameter.uniform_(0.5, 2.0)
            layer(torch.zeros(1, 3, 4, 4))
        folded = fold_norms(layer.state_dict())
        assert folded.keys() == {"weight", "bias"}
        assert (folded["weight"] - layer.weight).abs().max() < TOLERANCE

    def test_the_rest_stays_as_it_is(self):
        state = small_net().state_dict()
        folded = fold_norms(state)
        assert folded.keys() == state.keys()
        assert all(folded[key] is state[key] for key in state)
        lone = {"attention.weight_v": torch.zeros(2, 2), "conv_g": torch.zeros(2), "conv_v": torch.zeros(2)}
        assert fold_norms(lone).keys() == lone.keys()

    @pytest.mark.parametrize("make", [nn.Conv2d, nn.ConvTranspose2d])
    @pytest.mark.parametrize("wrapper", ["", "module.G."])
    def test_a_square_layer_that_was_never_trained(self, make: type[nn.Module], wrapper: str):
        torch.manual_seed(0)
        other = {nn.Conv2d: nn.ConvTranspose2d, nn.ConvTranspose2d: nn.Conv2d}[make](8, 8, 4)
        net = nn.Sequential(other, nn.Sequential(make(8, 8, 4))).eval()  # names 0.weight and 1.0.weight
        layer = nn.utils.spectral_norm(net[1][0])
        state = {f"{wrapper}{key}": value for key, value in net.state_dict().items()}
        with pytest.raises(IntakeError, match=r"0.weight': its spectral norm may run along either dimension; save the"):
            fold_norms(state)
        folded = fold_norms(state, net)
        with torch.no_grad():
            layer(torch.zeros(1, 8, 4, 4))
        assert (folded[f"{wrapper}1.0.weight"] - layer.weight).abs().max() < TOLERANCE

    def test_a_square_layer_whose_norm_runs_along_another_dimension_than_usual(self):
        torch.manual_seed(0)
        layer = trained(nn.utils.spectral_norm(nn.ConvTranspose2d(8, 8, 4), dim=0), torch.randn(2, 8, 4, 4)).eval()
        with torch.no_grad():
            layer(torch.zeros(1, 8, 4, 4))
        assert (fold_norms(layer.state_dict(), layer)["weight"] - layer.weight).abs().max() < TOLERANCE

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (
                {"weight_u": torch.zeros(7)},
                "'weight': its spectral norm has vectors of 7 and 6 values, which are not its sizes",
            ),
            ({"weight_u": torch.tensor(1.0)}, "has vectors of 1 and 6 values"),
            ({"weight_u": torch.zeros(5)}, "gives NaN or infinite values"),
            ({"weight_u": torch.zeros(5, dtype=torch.int64)}, "the tensors of its norm are not floats"),
            ({"weight_v": None}, "'weight_orig' belongs to a norm that can't be folded; save the net without it"),
        ],
    )
    def test_a_broken_norm(self, change: dict[str, Tensor | None], message: str):
        state = nn.utils.spectral_norm(nn.Linear(6, 5)).state_dict() | change
        with pytest.raises(IntakeError, match=message):
            fold_norms({key: value for key, value in state.items() if value is not None})

    def test_norms_that_can_t_be_folded(self):
        orthogonal = parametrizations.orthogonal(nn.Linear(4, 4)).state_dict()
        with pytest.raises(
            IntakeError, match=r"'parametrizations\.weight\.\S+' belongs to a norm that can't be folded"
        ):
            fold_norms(orthogonal)
        twice = parametrizations.spectral_norm(parametrizations.weight_norm(nn.Linear(4, 4))).state_dict()
        with pytest.raises(IntakeError, match="belongs to a norm that can't be folded"):
            fold_norms(twice)
        with pytest.raises(IntakeError, match=r"its weight norm has shape \(3, 2\), which does not fit \(3, 2\)"):
            fold_norms({"weight_g": torch.ones(3, 2), "weight_v": torch.ones(3, 2)})


class TestLoading:
    def test_all_keys_or_none(self):
        net, source = small_net(), small_net()
        load_exactly(net, source.state_dict())
        assert all(torch.equal(value, source.state_dict()[key]) for key, value in net.state_dict().items())

    def test_counters_may_be_missing_and_halves_are_widened(self):
        net, source = small_net(), small_net().half().state_dict()
        del source["1.num_batches_tracked"]
        load_exactly(net, source)
        assert net[0].weight.dtype == torch.float32
        assert torch.equal(net[0].weight, source["0.weight"].float())

    def test_the_refusal_is_one_line_with_the_first_of_each_kind(self):
        state = small_net().state_dict()
        del state["0.bias"], state["2.weight"]
        state |= {"extra\nkey": torch.zeros(1), "1.bias": torch.zeros(9), "1.weight": torch.zeros(1, 4)}
        net = small_net()
        before = {key: value.clone() for key, value in net.state_dict().items()}
        with pytest.raises(IntakeError) as refusal:
            load_exactly(net, state)
        assert str(refusal.value) == (
            r"the weights don't fit Sequential: '0.bias' and 1 more are missing; 'extra\nkey' is not expected; "
            "'1.weight' has shape (1, 4), not (4,), and 1 more of another shape"
        )
        assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())

    def test_averaged_weights_without_statistics(self):
        net = small_net()
        with pytest.raises(
            IntakeError, match=r"'1.running_mean' and 1 more are missing .averaged weights are often saved"
        ):
            load_exactly(net, dict(net.named_parameters()))

    @pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.bool, torch.int64, torch.complex64])
    def test_numbers_of_another_kind_than_a_parameter_has(self, dtype: torch.dtype):
        net = small_net()
        state = net.state_dict() | {"2.weight": torch.ones(2, 4).to(dtype)}
        named = str(dtype).removeprefix("torch.")
        with pytest.raises(IntakeError, match=f"^'2.weight' holds {named}, not float32; if they were quantised, multi"):
            load_exactly(net, state)
        with pytest.raises(IntakeError, match=f"'2.weight' holds {named}, not float32, and 1 more are not floats; if"):
            load_exactly(net, state | {"2.bias": torch.ones(2).to(dtype)})
        assert not torch.equal(net[2].weight, torch.ones(2, 4))

    def test_buffers_of_another_kind_are_taken(self):
        net = small_net()
        load_exactly(
            net, net.state_dict() | {"1.num_batches_tracked": torch.tensor(3.0), "1.running_mean": torch.ones(4).int()}
        )
        assert torch.equal(net[1].running_mean, torch.ones(4))

    @pytest.mark.parametrize("extra", [None, {"alpha": 0.5}, torch.ones(3), [1, "x"]])
    def test_what_a_class_saves_beside_tensors_is_given_to_it(self, extra: Any):
        net = WithExtra()
        load_exactly(net, net.state_dict() | {"_extra_state": extra})
        assert net.extra is extra

    def test_what_another_class_saves_beside_tensors(self):
        net = small_net()
        load_exactly(net, net.state_dict() | {"0._extra_state": None})
        with pytest.raises(IntakeError, match=r"'0\._extra_state' is not expected"):
            load_exactly(net, net.state_dict() | {"0._extra_state": 1})
        plain = nn.Linear(2, 2).state_dict()
        with pytest.raises(IntakeError, match="'_extra_state' is missing"):
            load_exactly(WithExtra(), plain)
        with pytest.raises(
            IntakeError, match=r"load_state_dict fails, though .*: ValueError: no such state \(test_state"
        ):
            load_exactly(WithExtra(), plain | {"_extra_state": "bad"})
        nothing = WithExtra()
        nothing.extra = None
        load_exactly(nothing, plain)
