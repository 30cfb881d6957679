"""The weights of somebody's file and the module that they belong to: names, norms, averages, what lies beside."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, spectral_norm, weight_norm

from gan_export.refusal import IntakeError
from gan_export.sources.load import load_source
from gan_export.sources.options import SourceOptions

TOLERANCE = 1e-6
MakeFn = Callable[..., SourceOptions]

NORMED = {
    "spectral, new class and old file": (parametrizations.spectral_norm, spectral_norm),
    "spectral, old class and new file": (spectral_norm, parametrizations.spectral_norm),
    "weight, new class and old file": (parametrizations.weight_norm, weight_norm),
    "weight, old class and new file": (weight_norm, parametrizations.weight_norm),
    "spectral, class alone": (spectral_norm, lambda layer: layer),
    "weight, class alone": (parametrizations.weight_norm, lambda layer: layer),
}


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("case", NORMED)
def test_a_norm_of_another_kind_than_the_file_has(case: str, write_module: MakeFn):
    in_class, in_file = NORMED[case]
    net = nn.ModuleDict({"body": in_file(nn.Linear(6, 192))})
    for _ in range(30):
        net["body"](torch.randn(4, 6))
    torch.save(net.eval().state_dict(), "G.pth")
    name = (
        f"nn.utils.{'parametrizations.' if in_class.__module__.endswith('parametrizations') else ''}{in_class.__name__}"
    )
    source = load_source(Path("G.pth"), write_module(init=f"        self.body = {name}(self.body)"))
    z = torch.randn(5, 6)
    with torch.no_grad():
        assert torch.allclose(source.generator(z), torch.tanh(net["body"](z)).view(-1, 3, 8, 8), atol=TOLERANCE)


@pytest.mark.parametrize(
    ("dim", "up"), [(None, "{}"), (0, "nn.utils.parametrizations.spectral_norm({}, dim=0)")], ids=["plain", "normed"]
)
def test_an_untrained_norm_of_a_square_layer_that_the_class_knows(write_module: MakeFn, dim: int | None, up: str):
    layer = spectral_norm(nn.ConvTranspose2d(3, 3, 3, padding=1), dim=dim)
    net = nn.ModuleDict({"body": nn.Linear(6, 192), "up": layer})
    torch.save({f"G.{key}": value for key, value in net.eval().state_dict().items()}, "G.pth")
    options = write_module(
        init=f"        self.up = {up.format('nn.ConvTranspose2d(3, 3, 3, padding=1)')}",
        result="torch.tanh(self.up(self.body(z).view(-1, 3, 8, 8)))",
    )
    z = torch.randn(5, 6)
    with torch.no_grad():
        drawn = load_source(Path("G.pth"), options).generator(z)
        assert torch.allclose(drawn, torch.tanh(net["up"](net["body"](z).view(-1, 3, 8, 8))), atol=TOLERANCE)


def test_one_net_among_others_by_the_names_that_the_module_has(write_module: MakeFn):
    state = torch.load("G.pth", weights_only=True)
    whole = {f"gan.first.{key}": value for key, value in state.items()} | {"gan.second.conv.weight": torch.ones(2, 2)}
    torch.save({"epoch": 1, "state_dict": whole}, "G.pth")
    assert load_source(Path("G.pth"), write_module()).image.height == 8
    whole |= {f"gan.third.{key}": value for key, value in state.items()}
    torch.save({"epoch": 1, "state_dict": whole}, "G.pth")
    which = "2 state dicts fit the class: 'state_dict.gan.first', 'state_dict.gan.third'; choose with --weights-key"
    with pytest.raises(IntakeError, match=which):
        load_source(Path("G.pth"), write_module())
    assert load_source(Path("G.pth"), write_module(weights_key="state_dict.gan.third")).image.height == 8


METHOD = """
    def {name}:
        {body}
"""


@pytest.mark.parametrize(
    ("init", "reason"),
    [
        (
            "        self.body = nn.LazyLinear(192)",
            r"has lazy layers, .* \(such as that of 'body.weight'\): give the class layers of",
        ),
        ("        self.body.to('meta')", "'body.weight' of Generator is on the device 'meta', which holds no data"),
        (
            "        self.body.weight.data.untyped_storage().resize_(0)",
            r"'body.weight' of Generator has the shape \(192, 6\), which takes 4,608 bytes, and its storage holds 0:",
        ),
        (
            "        self.register_buffer('graph', torch.eye(3).to_sparse(), persistent=False)",
            "'graph' of Generator has the layout sparse_coo, which ONNX does not have: make it dense",
        ),
        (
            "        self.register_buffer('graph', torch.eye(3).to_sparse_csr(), persistent=False)",
            "'graph' of Generator has the layout sparse_csr, which",
        ),
        (
            METHOD.format(name="state_dict(self)", body="return {'net': {}}"),
            r"state_dict\(\) has 'net', a dict, not",
        ),
        (
            METHOD.format(name="state_dict(self)", body="return [1]"),
            r"state_dict\(\) gives list, not tensors by name: leave",
        ),
        (
            METHOD.format(name="state_dict(self)", body="raise OSError('no')"),
            r"state_dict\(\) fails: OSError: no \(model.py",
        ),
        (
            METHOD.format(name="load_state_dict(self, path)", body="raise OSError('no')"),
            r"load_state_dict fails, though names and shapes fit: OSError: no \(model.py:\d+\); leave out what",
        ),
        (METHOD.format(name="float(self)", body="raise OSError('no')"), "can't be set to float32: OSError: no"),
        (METHOD.format(name="eval(self)", body="raise SystemExit"), "can't be set to eval mode: .* ends the program"),
    ],
)
def test_a_class_that_weights_can_t_be_loaded_into(write_module: MakeFn, init: str, reason: str):
    with pytest.raises(IntakeError, match=f"^G.pth: Generator.*{reason}|^G.pth: {reason}") as caught:
        load_source(Path("G.pth"), write_module(init=init))
    assert "\n" not in str(caught.value)
    assert "--init" not in str(caught.value)


def test_weights_are_loaded_into_expanded_tensors(write_module: MakeFn):
    options = write_module(
        init="        self.register_buffer('gain', torch.ones(1).expand(192))",
        result="torch.tanh(self.body(z) * self.gain).view(-1, 3, 8, 8)",
    )
    state = torch.load("G.pth", weights_only=True) | {"gain": torch.linspace(0.5, 1, 192)}
    torch.save(state, "G.pth")
    generator = load_source(Path("G.pth"), options).generator
    assert isinstance(generator, nn.Module)
    assert torch.equal(generator.state_dict()["generator.gain"], state["gain"])


def test_an_expanded_parameter_is_loaded_whatever_its_class_calls_it(write_module: MakeFn):
    hooks = (
        "        self.gain = nn.Parameter(torch.ones(1).expand(192))\n"
        "        rename = lambda state, old, new: [state.update({new: state.pop(old)}) for _ in range(old in state)]\n"
        "        self._register_state_dict_hook(lambda _, state, *__: rename(state, 'gain', 'G.gain') and None)\n"
        "        self._register_load_state_dict_pre_hook(lambda state, *_: rename(state, 'G.gain', 'gain') and None)"
    )
    options = write_module(init=hooks, result="torch.tanh(self.body(z) * self.gain).view(-1, 3, 8, 8)")
    state = torch.load("G.pth", weights_only=True) | {"G.gain": torch.linspace(0.5, 1, 192)}
    torch.save(state, "G.pth")
    z = torch.randn(2, 6)
    drawn = load_source(Path("G.pth"), options).generator(z).flatten(1)
    wanted = torch.tanh((z @ state["body.weight"].T + state["body.bias"]) * state["G.gain"])
    assert torch.allclose(drawn, wanted, atol=TOLERANCE)


def test_an_expanded_buffer_that_is_not_saved_shows_the_weight_that_was_loaded(write_module: MakeFn):
    options = write_module(
        init="        self.gain = nn.Parameter(torch.ones(1))\n"
        "        self.register_buffer('gains', self.gain.detach().expand(192), persistent=False)",
        result="torch.tanh(self.body(z) * self.gains).view(-1, 3, 8, 8)",
    )
    state = torch.load("G.pth", weights_only=True) | {"gain": torch.tensor([0.25])}
    torch.save(state, "G.pth")
    z = torch.randn(2, 6)
    drawn = load_source(Path("G.pth"), options).generator(z).flatten(1)
    wanted = torch.tanh((z @ state["body.weight"].T + state["body.bias"]) * 0.25)
    assert torch.allclose(drawn, wanted, atol=TOLERANCE)


def test_one_name_of_a_tied_parameter_is_enough(write_module: MakeFn):
    options = write_module(
        init="        self.again = nn.Linear(6, 192)\n        self.again.weight = self.body.weight",
        result="torch.tanh(self.body(z) + self.again(z)).view(-1, 3, 8, 8)",
    )
    weights = {"again.weight": torch.randn(192, 6), "body.bias": torch.ones(192), "again.bias": torch.ones(192)}
    torch.save(weights, "G.pth")
    z = torch.randn(2, 6)
    drawn = load_source(Path("G.pth"), options).generator(z).flatten(1)
    assert torch.allclose(drawn, (2 * (z @ weights["again.weight"].T + 1)).tanh(), atol=1e-6)
    torch.save(weights | {"body.weight": weights.pop("again.weight"), "more": torch.ones(2, 2)}, "G.pth")
    with pytest.raises(IntakeError, match="'more' is not expected"):
        load_source(Path("G.pth"), options)


def test_a_tied_name_that_the_class_does_not_save_is_not_asked_for(write_module: MakeFn):
    tied = "        self.again = nn.Linear(6, 192)\n        self.again.weight = self.body.weight\n"
    saved = "return {key: value for key, value in super().state_dict().items() if key != 'again.weight'}"
    tied += METHOD.format(name="state_dict(self)", body=saved)
    tied += METHOD.format(name="load_state_dict(self, state)", body="super().load_state_dict(state, strict=False)")
    weights = torch.load("G.pth", weights_only=True) | {"again.bias": torch.zeros(192)}
    torch.save(weights, "G.pth")
    load_source(Path("G.pth"), write_module(init=tied))


def test_a_layer_with_the_name_of_an_average_is_one_where_the_class_has_it(write_module: MakeFn):
    options = write_module(
        init="        self.swa = nn.Linear(6, 6)", result="torch.tanh(self.body(self.swa(z))).view(-1, 3, 8, 8)"
    )
    net = nn.ModuleDict({"body": nn.Linear(6, 192), "swa": spectral_norm(nn.Linear(6, 6))})
    torch.save({"G": net.state_dict()}, "G.pth")
    assert load_source(Path("G.pth"), options).weights == "raw"
    torch.save({"G": net.state_dict(), "ema": [torch.ones(2, 2)]}, "G.pth")
    with pytest.raises(IntakeError, match="averaged weights at 'ema' don't have the generator's own names"):
        load_source(Path("G.pth"), options)


def test_what_averaged_model_of_pytorch_saved_is_known_as_averaged(write_module: MakeFn):
    options = write_module()
    averaged = {f"module.{key}": value for key, value in torch.load("G.pth", weights_only=True).items()}
    for averages, kind in (({"n_averaged": torch.tensor(5)}, "ema"), ({}, "raw")):
        for tree in (averaged | averages, {"net": averaged | averages}):
            torch.save(tree, "G.pth")
            assert load_source(Path("G.pth"), options).weights == kind
    weights = {key.removeprefix("module."): value for key, value in averaged.items()}
    torch.save({"generator": weights, "generator_ema": weights, "n_averaged": 5}, "G.pth")
    assert load_source(Path("G.pth"), dataclasses.replace(options, weights="raw")).weights == "raw"


@pytest.mark.parametrize("name", ["eval(self)", "train(self, mode=True)", "float(self)", "requires_grad_(self, on)"])
def test_methods_that_forget_to_return_the_module(write_module: MakeFn, name: str):
    body = "[child.train(False) for child in self.children()]; self.training = False"
    source = load_source(Path("G.pth"), write_module(init=METHOD.format(name=name, body=body)))
    assert not any(part.training for part in source.generator.modules())


@pytest.mark.parametrize("extra", [None, {"scale": 0.5}, torch.tensor(0.5)])
def test_what_the_class_saves_beside_tensors_is_loaded(write_module: MakeFn, extra: object):
    torch.save(torch.load("G.pth", weights_only=True) | {"_extra_state": extra}, "G.pth")
    methods = METHOD.format(name="set_extra_state(self, extra)", body="self.extra = extra")
    methods += METHOD.format(name="get_extra_state(self)", body="return None")
    assert load_source(Path("G.pth"), write_module(init=methods)).generator.generator.extra == extra
    if extra is None:
        load_source(Path("G.pth"), write_module())


def test_a_mask_of_infinities_is_no_fault_and_weights_of_them_are(write_module: MakeFn):
    options = write_module(
        init="        self.register_buffer('mask', torch.zeros(192))",
        result="torch.tanh((self.body(z) + self.mask)).view(-1, 3, 8, 8)",
    )
    state = torch.load("G.pth", weights_only=True)
    mask = torch.zeros(192).index_fill(0, torch.arange(96), -torch.inf)
    torch.save(state | {"mask": mask}, "G.pth")
    assert load_source(Path("G.pth"), options).generator(torch.zeros(1, 6)).min() == -1
    torch.save(state | {"mask": mask * 0}, "G.pth")
    with pytest.raises(IntakeError, match="mask holds NaN"):
        load_source(Path("G.pth"), options)
    torch.save(state | {"mask": mask, "body.bias": mask}, "G.pth")
    with pytest.raises(IntakeError, match=r"body\.bias holds NaN or infinite values; export an earlier"):
        load_source(Path("G.pth"), options)
    shared = write_module(
        init="        self.register_buffer('mask', torch.zeros(192))\n        self.register_buffer('again', self.mask)",
        result="torch.tanh((self.body(z) + self.again)).view(-1, 3, 8, 8)",
    )
    torch.save(state | {"mask": mask, "again": mask}, "G.pth")
    assert load_source(Path("G.pth"), shared).generator(torch.zeros(1, 6)).min() == -1


@pytest.mark.parametrize("legacy", [False, True])
def test_a_list_at_the_top_of_a_file_and_notes_between_tensors(write_module: MakeFn, legacy: bool):
    options, state = write_module(), torch.load("G.pth", weights_only=True)
    other = {"conv.weight": torch.ones(2, 2)}
    for tree in ([other, state], (state, 7), {**state, "epoch": 3}):
        torch.save(tree, "G.pth", _use_new_zipfile_serialization=not legacy)
        generator = load_source(Path("G.pth"), options).generator
        assert torch.equal(generator.state_dict()["generator.body.weight"], state["body.weight"])
    torch.save([1, 2], "G.pth")
    with pytest.raises(IntakeError, match="the file holds a list, not a state dict"):
        load_source(Path("G.pth"), options)


@pytest.mark.parametrize("name", ["G_ema.pth", "model=G_ema-best-weights-step=99000.pth", "G.pth"])
def test_averaged_weights_in_a_file_of_their_own_are_known_by_its_name(write_module: MakeFn, name: str):
    options, state = write_module(), torch.load("G.pth", weights_only=True)
    kind = "ema" if "ema" in name else "raw"
    torch.save(state, name)
    assert load_source(Path(name), options).weights == kind
    torch.save({"generator": state, "generator_ema": state}, name)
    assert load_source(Path(name), options).weights == "ema"
    assert load_source(Path(name), dataclasses.replace(options, weights="raw")).weights == "raw"
