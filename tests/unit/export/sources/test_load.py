"""Modules of people's own files, read with their weights: what is asked of them before anything is exported."""

import dataclasses
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, spectral_norm, weight_norm

from gan_export.calling.conventions import BYTES, SIGMOID
from gan_export.package.export import export
from gan_export.refusal import IntakeError
from gan_export.sources.load import load_source
from gan_export.sources.options import SourceOptions

TOLERANCE = 1e-6
BODY = """
import torch
from torch import nn

class Generator(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Linear(6, 192)
{init}
    def forward(self, {arguments}):
        return {result}
"""

MakeFn = Callable[..., SourceOptions]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeFn:
    """Writes model.py and its weights G.pth; gives the options to read them with."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    torch.save(nn.ModuleDict({"body": nn.Linear(6, 192)}).state_dict(), "G.pth")

    def write(arguments: str = "z", result: str = "torch.tanh(self.body(z)).view(-1, 3, 8, 8)", init: str = "", **said):
        Path("model.py").write_text(BODY.format(arguments=arguments, result=result, init=init))
        return SourceOptions(module="model.py:Generator", latent_dim=6, **said)

    return write


@pytest.mark.parametrize(
    ("init", "named"),
    [
        ("        self.places = torch.randn(192)", "places is"),
        ("        self.register_buffer('places', torch.rand(192), persistent=False)", "places is"),
        ("        self.places = torch.randn(192).tolist()", "something is"),
    ],
)
def test_numbers_that_the_constructor_draws_and_nobody_saved(make: MakeFn, init: str, named: str):
    options = make(init=init, result="torch.tanh(self.body(z) + torch.as_tensor(self.places)).view(-1, 3, 8, 8)")
    with pytest.raises(IntakeError, match=f"the weights file is incomplete: .* because {named} drawn at random"):
        load_source(Path("G.pth"), options)


@pytest.mark.parametrize(
    ("seeding", "drawing"),
    [
        ("torch.manual_seed(0)", "torch.randn(192)"),
        ("numpy.random.seed(0)", "torch.from_numpy(numpy.random.rand(192)).float()"),
        ("random.seed(0)", "torch.full((192,), random.random())"),
        ("", "NOISE"),
    ],
)
def test_a_seed_that_is_set_at_import_hides_nothing(make: MakeFn, seeding: str, drawing: str):
    options = make(
        init=f"        self.places = {drawing}", result="torch.tanh(self.body(z) + self.places).view(-1, 3, 8, 8)"
    )
    path = Path("model.py")
    path.write_text(
        f"import random\nimport numpy\nimport torch\nNOISE = torch.randn(192)\n{seeding}\n{path.read_text()}"
    )
    with pytest.raises(IntakeError, match=r"the weights file is incomplete: .* because places is drawn at random"):
        load_source(Path("G.pth"), options)


REGISTERS = """
import logging
if hasattr(logging, {name!r}):
    raise KeyError("already registered")
logging.{name} = True
"""


def test_a_file_that_can_be_imported_only_once(make: MakeFn, monkeypatch: pytest.MonkeyPatch):
    options, path = make(), Path("model.py")
    plain = path.read_text()
    for name, seeding in (("first_of_a_kind", ""), ("second_of_a_kind", "torch.manual_seed(0)")):
        monkeypatch.setattr(logging, name, None, raising=False)
        monkeypatch.delattr(logging, name)
        path.write_text(f"{plain}\n{REGISTERS.format(name=name)}\n{seeding}\n")
        if not seeding:
            assert load_source(Path("G.pth"), options).image.height == 8
            continue
        with pytest.raises(
            IntakeError, match=r"model\.py draws or seeds random numbers .*KeyError: 'already registered'"
        ):
            load_source(Path("G.pth"), options)


def test_what_is_drawn_and_not_used_or_seeded_is_no_matter(make: MakeFn):
    make(init="        self.spare = torch.randn(3)")
    load_source(Path("G.pth"), make(init="        self.spare = torch.randn(3)"))
    init = "        torch.manual_seed(3)\n        self.places = torch.randn(192)"
    load_source(Path("G.pth"), make(init=init, result="torch.tanh(self.body(z) + self.places).view(-1, 3, 8, 8)"))


def test_arguments_of_forward_that_are_no_latents_or_labels(make: MakeFn):
    result = "torch.tanh(alpha * self.body(z)).view(-1, 3, 8, 8)"
    with pytest.raises(IntakeError, match=r"give the others with --forward steps=VALUE"):
        load_source(Path("G.pth"), make("z, alpha, steps", result))
    source = load_source(Path("G.pth"), make("z, alpha, steps", result, forward={"alpha": "0.5", "steps": "4"}))
    assert source.hyperparameters["convention"]["extras"] == {"alpha": "0.5", "steps": "4"}
    assert "with alpha=0.5, steps=4 -> images (N, 3, 8, 8)" in source.notes[0]
    z = torch.randn(2, 6)
    body = torch.load("G.pth", weights_only=True)
    expected = torch.tanh(0.5 * (z @ body["body.weight"].T + body["body.bias"])).view(-1, 3, 8, 8)
    assert torch.allclose(source.generator(z), expected, atol=TOLERANCE)
    with pytest.raises(IntakeError, match=r"--forward beta: no such argument of forward\(z, alpha, steps\)"):
        load_source(Path("G.pth"), make("z, alpha, steps", result, forward={"beta": "1"}))


def test_a_label_behind_an_argument_that_was_given(make: MakeFn):
    result = "torch.tanh(scale * self.body(z) + y[:, None]).view(-1, 3, 8, 8)"
    source = load_source(Path("G.pth"), make("z, scale, y", result, forward={"scale": "1.0"}, classes=3))
    images = source.generator(torch.zeros(3, 6), torch.arange(3))
    assert not torch.equal(images[0], images[2])


def test_the_largest_of_several_images(make: MakeFn):
    big = "torch.tanh(self.body(z)).view(-1, 3, 8, 8)"
    attention = "torch.rand(len(z), 64, 64)"
    source = load_source(Path("G.pth"), make(result=f"[{big}[..., ::2, ::2], {big}, {attention}]"))
    assert (source.image.channels, source.image.height, source.image.width) == (3, 8, 8)


def test_bytes_are_asked_for_and_stretched(make: MakeFn):
    result = "torch.sigmoid(self.body(z)).view(-1, 3, 8, 8) * 99"
    with pytest.raises(IntakeError, match="give --output-range 0,255 if these are bytes"):
        load_source(Path("G.pth"), make(result=result))
    source = load_source(Path("G.pth"), make(result=result, output_range=BYTES))
    pixels = source.generator(torch.randn(64, 6))
    assert -1 <= pixels.min() < pixels.max() < 0


def test_a_refusal_names_the_file_and_its_causes_end(make: MakeFn):
    Path("G.pth").rename("forward")  # which the error itself begins with
    with pytest.raises(IntakeError, match=r"^forward: forward\(z\)") as caught:
        load_source(Path("forward"), make(classes=3))
    assert caught.value.__cause__ is not caught.value


@pytest.mark.parametrize(("classes", "noted"), [(10, False), (9, True), (1, True)])
def test_a_table_with_more_rows_than_classes_is_noted(make: MakeFn, classes: int, noted: bool):
    result = "torch.tanh(self.body(z + self.embed(y) + self.places(torch.arange(6)))).view(-1, 3, 8, 8)"
    torch.manual_seed(0)
    net = nn.ModuleDict({"body": nn.Linear(6, 192), "embed": nn.Embedding(10, 6), "places": nn.Embedding(50, 1)})
    options = make(
        "z, y",
        result.replace("arange(6))", "arange(6)).T"),
        "        self.embed = nn.Embedding(10, 6)\n        self.places = nn.Embedding(50, 1)",
        classes=classes,
    )
    torch.save(net.state_dict(), "G.pth")
    told = f"Its table embed has 10 rows, but --classes is {classes}: the classes of the other rows can't be requested."
    assert (told in load_source(Path("G.pth"), options).notes) == noted
    assert len(load_source(Path("G.pth"), options).notes) == 1 + noted


@pytest.mark.slow
@pytest.mark.parametrize("cast", ["uint8", "float64"])
def test_bytes_and_doubles_are_exported(cast: str, make: MakeFn):
    scaled = "* 127.5 + 127.5).round()" if cast == "uint8" else ")"
    options = make(result=f"(torch.tanh(self.body(z)).view(-1, 3, 8, 8) {scaled}.to(torch.{cast})")
    exported = export(load_source(Path("G.pth"), options), "m", Path("m"))
    assert exported.certificate.failures == []
    if cast == "uint8":
        with pytest.raises(IntakeError, match=r"its output is uint8, which is on \[0, 255\]: leave --output-range out"):
            load_source(Path("G.pth"), dataclasses.replace(options, output_range=SIGMOID))


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
def test_a_norm_of_another_kind_than_the_file_has(case: str, make: MakeFn):
    in_class, in_file = NORMED[case]
    net = nn.ModuleDict({"body": in_file(nn.Linear(6, 192))})
    for _ in range(30):
        net["body"](torch.randn(4, 6))
    torch.save(net.eval().state_dict(), "G.pth")
    name = (
        f"nn.utils.{'parametrizations.' if in_class.__module__.endswith('parametrizations') else ''}{in_class.__name__}"
    )
    source = load_source(Path("G.pth"), make(init=f"        self.body = {name}(self.body)"))
    z = torch.randn(5, 6)
    with torch.no_grad():
        assert torch.allclose(source.generator(z), torch.tanh(net["body"](z)).view(-1, 3, 8, 8), atol=TOLERANCE)


def test_one_net_among_others_by_the_names_that_the_module_has(make: MakeFn):
    state = torch.load("G.pth", weights_only=True)
    whole = {f"gan.first.{key}": value for key, value in state.items()} | {"gan.second.conv.weight": torch.ones(2, 2)}
    torch.save({"epoch": 1, "state_dict": whole}, "G.pth")
    assert load_source(Path("G.pth"), make()).image.height == 8
    whole |= {f"gan.third.{key}": value for key, value in state.items()}
    torch.save({"epoch": 1, "state_dict": whole}, "G.pth")
    which = "2 state dicts fit the class: 'state_dict.gan.first', 'state_dict.gan.third'; choose with --weights-key"
    with pytest.raises(IntakeError, match=which):
        load_source(Path("G.pth"), make())
    assert load_source(Path("G.pth"), make(weights_key="state_dict.gan.third")).image.height == 8


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
def test_a_class_that_weights_can_t_be_loaded_into(make: MakeFn, init: str, reason: str):
    with pytest.raises(IntakeError, match=f"^G.pth: Generator.*{reason}|^G.pth: {reason}") as caught:
        load_source(Path("G.pth"), make(init=init))
    assert "\n" not in str(caught.value)
    assert "--init" not in str(caught.value)


def test_a_scripted_module_is_refused(make: MakeFn):
    options = make()
    with Path("model.py").open("a") as file:
        file.write("\ndef make(): return torch.jit.script(Generator())\n")
    with pytest.raises(IntakeError, match=r"model\.py:make: gives a scripted module, .* without torch\.jit\.script"):
        load_source(Path("G.pth"), dataclasses.replace(options, module="model.py:make"))


def test_a_module_with_a_scripted_part_is_refused_by_its_name(make: MakeFn):
    options = make(init="        self.part = nn.Sequential(torch.jit.script(nn.Linear(6, 6)))")
    with pytest.raises(IntakeError, match=r"model\.py:Generator: Generator\.part\.0 is a scripted module"):
        load_source(Path("G.pth"), options)


@pytest.mark.parametrize("result", ["self.body.double()(z.double())", "self.body(z.double())"])
def test_float64_within_forward_is_named(make: MakeFn, result: str):
    options = make(init="        self.head = nn.Linear(192, 192)", result=f"self.head({result}).view(-1, 3, 8, 8)")
    torch.save(nn.ModuleDict({"body": nn.Linear(6, 192), "head": nn.Linear(192, 192)}).state_dict(), "G.pth")
    with pytest.raises(IntakeError, match=r"exported in float32, weights included: don't use float64 in forward"):
        load_source(Path("G.pth"), options)


def test_one_name_of_a_tied_parameter_is_enough(make: MakeFn):
    options = make(
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


def test_a_tied_name_that_the_class_does_not_save_is_not_asked_for(make: MakeFn):
    tied = "        self.again = nn.Linear(6, 192)\n        self.again.weight = self.body.weight\n"
    saved = "return {key: value for key, value in super().state_dict().items() if key != 'again.weight'}"
    tied += METHOD.format(name="state_dict(self)", body=saved)
    tied += METHOD.format(name="load_state_dict(self, state)", body="super().load_state_dict(state, strict=False)")
    weights = torch.load("G.pth", weights_only=True) | {"again.bias": torch.zeros(192)}
    torch.save(weights, "G.pth")
    load_source(Path("G.pth"), make(init=tied))


def test_a_layer_with_the_name_of_an_average_is_one_where_the_class_has_it(make: MakeFn):
    options = make(
        init="        self.swa = nn.Linear(6, 6)", result="torch.tanh(self.body(self.swa(z))).view(-1, 3, 8, 8)"
    )
    net = nn.ModuleDict({"body": nn.Linear(6, 192), "swa": spectral_norm(nn.Linear(6, 6))})
    torch.save({"G": net.state_dict()}, "G.pth")
    assert load_source(Path("G.pth"), options).weights == "raw"
    torch.save({"G": net.state_dict(), "ema": [torch.ones(2, 2)]}, "G.pth")
    with pytest.raises(IntakeError, match="averaged weights at 'ema' don't have the generator's own names"):
        load_source(Path("G.pth"), options)


def test_what_averaged_model_of_pytorch_saved_is_known_as_averaged(make: MakeFn):
    options = make()
    averaged = {f"module.{key}": value for key, value in torch.load("G.pth", weights_only=True).items()}
    for averages, kind in (({"n_averaged": torch.tensor(5)}, "ema"), ({}, "raw")):
        for tree in (averaged | averages, {"net": averaged | averages}):
            torch.save(tree, "G.pth")
            assert load_source(Path("G.pth"), options).weights == kind
    weights = {key.removeprefix("module."): value for key, value in averaged.items()}
    torch.save({"generator": weights, "generator_ema": weights, "n_averaged": 5}, "G.pth")
    assert load_source(Path("G.pth"), dataclasses.replace(options, weights="raw")).weights == "raw"


@pytest.mark.parametrize("name", ["eval(self)", "train(self, mode=True)", "float(self)", "requires_grad_(self, on)"])
def test_methods_that_forget_to_return_the_module(make: MakeFn, name: str):
    body = "[child.train(False) for child in self.children()]; self.training = False"
    source = load_source(Path("G.pth"), make(init=METHOD.format(name=name, body=body)))
    assert not any(part.training for part in source.generator.modules())


@pytest.mark.parametrize("extra", [None, {"scale": 0.5}, torch.tensor(0.5)])
def test_what_the_class_saves_beside_tensors_is_loaded(make: MakeFn, extra: object):
    torch.save(torch.load("G.pth", weights_only=True) | {"_extra_state": extra}, "G.pth")
    methods = METHOD.format(name="set_extra_state(self, extra)", body="self.extra = extra")
    methods += METHOD.format(name="get_extra_state(self)", body="return None")
    assert load_source(Path("G.pth"), make(init=methods)).generator.generator.extra == extra
    if extra is None:
        load_source(Path("G.pth"), make())


def test_a_mask_of_infinities_is_no_fault_and_weights_of_them_are(make: MakeFn):
    options = make(
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
    shared = make(
        init="        self.register_buffer('mask', torch.zeros(192))\n        self.register_buffer('again', self.mask)",
        result="torch.tanh((self.body(z) + self.again)).view(-1, 3, 8, 8)",
    )
    torch.save(state | {"mask": mask, "again": mask}, "G.pth")
    assert load_source(Path("G.pth"), shared).generator(torch.zeros(1, 6)).min() == -1


@pytest.mark.parametrize("legacy", [False, True])
def test_a_list_at_the_top_of_a_file_and_notes_between_tensors(make: MakeFn, legacy: bool):
    options, state = make(), torch.load("G.pth", weights_only=True)
    other = {"conv.weight": torch.ones(2, 2)}
    for tree in ([other, state], (state, 7), {**state, "epoch": 3}):
        torch.save(tree, "G.pth", _use_new_zipfile_serialization=not legacy)
        generator = load_source(Path("G.pth"), options).generator
        assert torch.equal(generator.state_dict()["generator.body.weight"], state["body.weight"])
    torch.save([1, 2], "G.pth")
    with pytest.raises(IntakeError, match="the file holds a list, not a state dict"):
        load_source(Path("G.pth"), options)


@pytest.mark.parametrize("name", ["G_ema.pth", "model=G_ema-best-weights-step=99000.pth", "G.pth"])
def test_averaged_weights_in_a_file_of_their_own_are_known_by_its_name(make: MakeFn, name: str):
    options, state = make(), torch.load("G.pth", weights_only=True)
    kind = "ema" if "ema" in name else "raw"
    torch.save(state, name)
    assert load_source(Path(name), options).weights == kind
    torch.save({"generator": state, "generator_ema": state}, name)
    assert load_source(Path(name), options).weights == "ema"
    assert load_source(Path(name), dataclasses.replace(options, weights="raw")).weights == "raw"


@pytest.mark.parametrize(
    ("said", "option"),
    [({"latent_dim": 6}, "--latent"), ({"order": "latent_first"}, "--argument-order"), ({"family": "x"}, "--family")],
)
def test_what_has_no_meaning_is_named_as_on_the_command_line(said: dict[str, object], option: str):
    with pytest.raises(IntakeError, match=f"^{option} has no meaning for an apple: leave it out"):
        SourceOptions(**said).refuse_all_but(set(), "an apple")
