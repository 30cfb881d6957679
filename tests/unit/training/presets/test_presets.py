"""Presets: those in the box, and a user's own file."""

import tomllib
from dataclasses import fields
from importlib import resources
from pathlib import Path

import pytest

from gan_training.config import ConfigError, TrainConfig
from gan_training.presets.load import load_preset, preset_names


@pytest.mark.parametrize("name", preset_names())
def test_a_preset_in_the_box_is_a_run_and_holds_only_what_differs(name):
    values = load_preset(name)
    gan_type = values.pop("type")
    assert name.startswith(gan_type)
    defaults = TrainConfig.for_type(gan_type, "digits")
    assert TrainConfig.for_type(gan_type, "digits", values) != defaults
    assert [key for key, value in values.items() if getattr(defaults, key) == value] == []


def test_there_are_presets_and_their_files_are_in_the_package():
    folder = resources.files("gan_training") / "presets"
    assert {"acgan-28", "cgan-28", "dcgan-28", "wgan-28", "wgan-28-labels"} <= set(preset_names())
    code = {"__init__.py", "load.py", "__pycache__"}
    assert {f"{name}.toml" for name in preset_names()} == {entry.name for entry in folder.iterdir()} - code


def test_a_file_of_ones_own(tmp_path: Path):
    path = tmp_path / "mine.toml"
    path.write_text('type = "wgan"\nn_critic = 2\ngenerator_lr = 1e-4\nbeta1 = 0\n')
    assert load_preset(str(path)) == {"type": "wgan", "n_critic": 2, "generator_lr": 1e-4, "beta1": 0}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('type = "dcgan"\ndepth = 3\n', "'depth' is not a setting of a preset"),
        ('type = "dcgan"\ndata = "digits"\n', "'data' is not a setting of a preset"),
        ("n_critic = 2\n", "type is missing; use one of dcgan, cgan, acgan, wgan"),
        ('type = "dcgan"\nn_critic = 2\n', "n_critic has no meaning for dcgan"),
        ('type = "dcgan"\nlatent_dim = "many"\n', "latent_dim is 'many'; it must be a whole number"),
        ('type = "dcgan"\nbatch_size = 1\n', "batch_size is 1; it must be from 2 to"),
        ('type = "gan"\n', "type 'gan' is unknown"),
        ("type = dcgan\n", "is not TOML"),
        (f'type = "dcgan"\nsteps = 1{"0" * 5000}\n', "is not TOML"),
        (f'type = "dcgan"\nbeta1 = 1{"0" * 400}\n', "beta1 is 100000000000000000000000000000...; it must be from 0 to"),
    ],
)
def test_bad_files_are_refused_with_their_name(tmp_path, text, reason):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"preset .*mine\.toml: .*") as error:
        load_preset(str(path))
    assert reason in str(error.value)
    assert "\n" not in str(error.value)


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path):
    path = tmp_path / "mine.toml"
    path.write_text('type = "wgan"\n', encoding="utf-8-sig")
    assert load_preset(str(path)) == {"type": "wgan"}


def test_a_file_of_another_kind_says_so(tmp_path: Path):
    path = tmp_path / "mine.yaml"
    path.write_text("type: wgan\n")
    with pytest.raises(ConfigError, match=r"mine\.yaml' is a file, but not a \.toml one"):
        load_preset(str(path))


def test_unknown_names_and_missing_files_say_what_there_is(tmp_path):
    with pytest.raises(
        ConfigError, match=r"preset 'cgan-29' is unknown; did you mean cgan-28\? Use one of .*or a \.toml"
    ):
        load_preset("cgan-29")
    with pytest.raises(ConfigError, match=r"no such file; in the box are .*cgan-28"):
        load_preset(str(tmp_path / "none.toml"))


def test_settings_of_a_preset_are_settings_of_a_run():
    known = {field.name for field in fields(TrainConfig)}
    folder = resources.files("gan_training") / "presets"
    for name in preset_names():
        assert set(tomllib.loads((folder / f"{name}.toml").read_text("utf-8"))) <= known
