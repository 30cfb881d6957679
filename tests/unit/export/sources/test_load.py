"""Modules of people's own files, read with their weights: what is asked of them before anything is exported."""

import dataclasses
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from gan_export.conventions import BYTES, SIGMOID
from gan_export.package.export import export
from gan_export.refusal import IntakeError
from gan_export.sources.load import load_source
from gan_export.sources.options import SourceOptions

TOLERANCE = 1e-6
MakeFn = Callable[..., SourceOptions]


@pytest.mark.parametrize(
    ("init", "named"),
    [
        ("        self.places = torch.randn(192)", "places is"),
        ("        self.register_buffer('places', torch.rand(192), persistent=False)", "places is"),
        ("        self.places = torch.randn(192).tolist()", "something is"),
    ],
)
def test_numbers_that_the_constructor_draws_and_nobody_saved(write_module: MakeFn, init: str, named: str):
    options = write_module(
        init=init, result="torch.tanh(self.body(z) + torch.as_tensor(self.places)).view(-1, 3, 8, 8)"
    )
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
def test_a_seed_that_is_set_at_import_hides_nothing(write_module: MakeFn, seeding: str, drawing: str):
    options = write_module(
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


def test_a_file_that_can_be_imported_only_once(write_module: MakeFn, monkeypatch: pytest.MonkeyPatch):
    options, path = write_module(), Path("model.py")
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


def test_what_is_drawn_and_not_used_or_seeded_is_no_matter(write_module: MakeFn):
    write_module(init="        self.spare = torch.randn(3)")
    load_source(Path("G.pth"), write_module(init="        self.spare = torch.randn(3)"))
    init = "        torch.manual_seed(3)\n        self.places = torch.randn(192)"
    load_source(
        Path("G.pth"), write_module(init=init, result="torch.tanh(self.body(z) + self.places).view(-1, 3, 8, 8)")
    )


def test_arguments_of_forward_that_are_no_latents_or_labels(write_module: MakeFn):
    result = "torch.tanh(alpha * self.body(z)).view(-1, 3, 8, 8)"
    with pytest.raises(IntakeError, match=r"give the others with --forward steps=VALUE"):
        load_source(Path("G.pth"), write_module("z, alpha, steps", result))
    source = load_source(Path("G.pth"), write_module("z, alpha, steps", result, forward={"alpha": "0.5", "steps": "4"}))
    assert source.hyperparameters["convention"]["extras"] == {"alpha": "0.5", "steps": "4"}
    assert "with alpha=0.5, steps=4 -> images (N, 3, 8, 8)" in source.notes[0]
    z = torch.randn(2, 6)
    body = torch.load("G.pth", weights_only=True)
    expected = torch.tanh(0.5 * (z @ body["body.weight"].T + body["body.bias"])).view(-1, 3, 8, 8)
    assert torch.allclose(source.generator(z), expected, atol=TOLERANCE)
    with pytest.raises(IntakeError, match=r"--forward beta: no such argument of forward\(z, alpha, steps\)"):
        load_source(Path("G.pth"), write_module("z, alpha, steps", result, forward={"beta": "1"}))


def test_a_label_behind_an_argument_that_was_given(write_module: MakeFn):
    result = "torch.tanh(scale * self.body(z) + y[:, None]).view(-1, 3, 8, 8)"
    source = load_source(Path("G.pth"), write_module("z, scale, y", result, forward={"scale": "1.0"}, classes=3))
    images = source.generator(torch.zeros(3, 6), torch.arange(3))
    assert not torch.equal(images[0], images[2])


def test_the_largest_of_several_images(write_module: MakeFn):
    big = "torch.tanh(self.body(z)).view(-1, 3, 8, 8)"
    attention = "torch.rand(len(z), 64, 64)"
    source = load_source(Path("G.pth"), write_module(result=f"[{big}[..., ::2, ::2], {big}, {attention}]"))
    assert (source.image.channels, source.image.height, source.image.width) == (3, 8, 8)


def test_bytes_are_asked_for_and_stretched(write_module: MakeFn):
    result = "torch.sigmoid(self.body(z)).view(-1, 3, 8, 8) * 99"
    with pytest.raises(IntakeError, match="give --output-range 0,255 if these are bytes"):
        load_source(Path("G.pth"), write_module(result=result))
    source = load_source(Path("G.pth"), write_module(result=result, output_range=BYTES))
    pixels = source.generator(torch.randn(64, 6))
    assert -1 <= pixels.min() < pixels.max() < 0


def test_a_refusal_names_the_file_and_its_causes_end(write_module: MakeFn):
    Path("G.pth").rename("forward")  # which the error itself begins with
    with pytest.raises(IntakeError, match=r"^forward: forward\(z\)") as caught:
        load_source(Path("forward"), write_module(classes=3))
    assert caught.value.__cause__ is not caught.value


@pytest.mark.parametrize(("classes", "noted"), [(10, False), (9, True), (1, True)])
def test_a_table_with_more_rows_than_classes_is_noted(write_module: MakeFn, classes: int, noted: bool):
    result = "torch.tanh(self.body(z + self.embed(y) + self.places(torch.arange(6)))).view(-1, 3, 8, 8)"
    torch.manual_seed(0)
    net = nn.ModuleDict({"body": nn.Linear(6, 192), "embed": nn.Embedding(10, 6), "places": nn.Embedding(50, 1)})
    options = write_module(
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
def test_bytes_and_doubles_are_exported(cast: str, write_module: MakeFn):
    scaled = "* 127.5 + 127.5).round()" if cast == "uint8" else ")"
    options = write_module(result=f"(torch.tanh(self.body(z)).view(-1, 3, 8, 8) {scaled}.to(torch.{cast})")
    exported = export(load_source(Path("G.pth"), options), "m", Path("m"))
    assert exported.certificate.failures == []
    if cast == "uint8":
        with pytest.raises(IntakeError, match=r"its output is uint8, which is on \[0, 255\]: leave --output-range out"):
            load_source(Path("G.pth"), dataclasses.replace(options, output_range=SIGMOID))


def test_images_too_large_to_be_stored_are_refused_before_many_are_drawn(write_module: MakeFn):
    options = write_module(
        result="torch.tanh(self.body(z)).view(-1, 3, 8, 8).repeat(1, 1, 300, 300) * (1 if len(z) < 12 else self.none)"
    )
    with pytest.raises(IntakeError, match=r"images of 2400 x 2400 pixels and 3 channels are too large: the 2 that"):
        load_source(Path("G.pth"), options)


def test_a_scripted_module_is_refused(write_module: MakeFn):
    options = write_module()
    with Path("model.py").open("a") as file:
        file.write("\ndef make(): return torch.jit.script(Generator())\n")
    with pytest.raises(IntakeError, match=r"model\.py:make: gives a scripted module, .* without torch\.jit\.script"):
        load_source(Path("G.pth"), dataclasses.replace(options, module="model.py:make"))


def test_a_module_with_a_scripted_part_is_refused_by_its_name(write_module: MakeFn):
    options = write_module(init="        self.part = nn.Sequential(torch.jit.script(nn.Linear(6, 6)))")
    with pytest.raises(IntakeError, match=r"model\.py:Generator: Generator\.part\.0 is a scripted module"):
        load_source(Path("G.pth"), options)


@pytest.mark.parametrize("result", ["self.body.double()(z.double())", "self.body(z.double())"])
def test_float64_within_forward_is_named(write_module: MakeFn, result: str):
    options = write_module(
        init="        self.head = nn.Linear(192, 192)", result=f"self.head({result}).view(-1, 3, 8, 8)"
    )
    torch.save(nn.ModuleDict({"body": nn.Linear(6, 192), "head": nn.Linear(192, 192)}).state_dict(), "G.pth")
    with pytest.raises(IntakeError, match=r"exported in float32, weights included: don't use float64 in forward"):
        load_source(Path("G.pth"), options)


@pytest.mark.parametrize(
    ("said", "option"),
    [({"latent_dim": 6}, "--latent"), ({"order": "latent_first"}, "--argument-order"), ({"family": "x"}, "--family")],
)
def test_what_has_no_meaning_is_named_as_on_the_command_line(said: dict[str, object], option: str):
    with pytest.raises(IntakeError, match=f"^{option} has no meaning for an apple: leave it out"):
        SourceOptions(**said).refuse_all_but(set(), "an apple")
