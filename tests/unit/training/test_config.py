"""Settings: defaults, `--set`, ranges, and the nets that follow from them."""

import dataclasses
import json

import pytest
import torch

from gan_training.build import build_loop_settings, build_specs
from gan_training.cli.assignments import parse_assignments
from gan_training.config import GAN_TYPES, ONLY_FOR, TYPE_DEFAULTS, ConfigError, TrainConfig


@pytest.mark.parametrize("gan_type", GAN_TYPES)
def test_defaults_of_a_type_and_what_goes_on_top(gan_type):
    config = TrainConfig.for_type(gan_type, "digits")
    assert (config.type, config.data) == (gan_type, "digits")
    assert config.is_conditional == (gan_type in ("cgan", "acgan"))
    assert (config.latent, config.upsample, config.seed, config.image_size) == ("normal", "transpose", 0, None)
    for name, value in TYPE_DEFAULTS[gan_type].items():
        assert getattr(config, name) == value
        assert value != getattr(TrainConfig(gan_type, "digits"), name), f"{name}: only deltas belong there"
        changed = TrainConfig.for_type(gan_type, "digits", **{name: getattr(TrainConfig("dcgan", "digits"), name)})
        assert getattr(changed, name) == getattr(TrainConfig("dcgan", "digits"), name)


def test_wgan_defaults_are_its_papers():
    config = TrainConfig.for_type("wgan", "digits")
    assert (config.n_critic, config.lipschitz, config.gp_weight, config.clip) == (5, "gp", 10.0, 0.01)
    assert config.critic_norm == "none"


@pytest.mark.parametrize("gan_type", ["", "gan", "stylegan"])
def test_unknown_type_lists_the_four(gan_type):
    with pytest.raises(ConfigError, match=rf"type '{gan_type}' is unknown; use one of dcgan, cgan, acgan, wgan"):
        TrainConfig.for_type(gan_type, "digits")


@pytest.mark.parametrize(
    ("assignment", "name", "value"),
    [
        ("r1_gamma=0.5", "r1_gamma", 0.5),
        ("generator_lr=1e-4", "generator_lr", 1e-4),
        ("generator-lr = 3e-4 ", "generator_lr", 3e-4),
        ("r1_every=16", "r1_every", 16),
        ("latent_dim=128", "latent_dim", 128),
        ("upsample=nearest", "upsample", "nearest"),
        ("conditioned_by=concat", "conditioned_by", "concat"),
        ("conditional=True", "conditional", True),
        ("conditional=false", "conditional", False),
        ("minutes=none", "minutes", None),
        ("minutes=2.5", "minutes", 2.5),
        ("image_size=none", "image_size", None),
        ("image_size=32", "image_size", 32),
        ("device=cuda:1", "device", "cuda:1"),
    ],
)
def test_set_gives_a_typed_value_that_a_config_takes(assignment, name, value):
    parsed = parse_assignments([assignment])
    assert parsed == {name: value}
    assert type(parsed[name]) is type(value)
    gan_type = ONLY_FOR.get(name, ("wgan",))[0]
    assert getattr(TrainConfig.for_type(gan_type, "digits", **parsed), name) == value


def test_set_takes_several_and_the_last_counts():
    assert parse_assignments(["drift=1", "clip=0.1", "drift=2"]) == {"drift": 2.0, "clip": 0.1}
    assert parse_assignments([]) == {}


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("generator_lr", "--set 'generator_lr' has no '='; write --set name=value"),
        ("", "--set '' has no '='"),
        ("learning_rate=1", "--set learning_rate: there is no such setting; known are auxiliary_weight, batch_size"),
        ("=3", "--set : there is no such setting"),
        ("type=wgan", "--set type: there is no such setting"),
        ("data=digits", "--set data: there is no such setting"),
        ("RUNTIME=1", "--set RUNTIME: there is no such setting"),
        ("steps=abc", "steps is 'abc'; it must be a whole number"),
        ("steps=", "steps is ''; it must be a whole number"),
        ("steps=1.5", "steps is '1.5'; it must be a whole number"),
        ("latent_dim=none", "latent_dim is 'none'; it must be a whole number"),
        ("generator_lr=fast", "generator_lr is 'fast'; it must be a number"),
        ("conditional=yes", "conditional is 'yes'; it must be true or false"),
    ],
)
def test_bad_assignments_are_refused_in_one_line(assignment, words):
    with pytest.raises(ConfigError) as caught:
        parse_assignments([assignment])
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_cgan_whose_critic_classifies_is_an_acgan():
    with pytest.raises(ConfigError, match=r"conditioned_by is 'auxiliary'.* use --type acgan"):
        TrainConfig.for_type("cgan", "toy", conditioned_by="auxiliary")


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"steps": 0}, "steps is 0; it must be from 1 to 100,000,000"),
        ({"seed": -1}, "seed is -1; it must be from 0 to "),
        ({"seed": 2**53}, "seed is 9007199254740992"),
        ({"batch_size": 1}, "batch_size is 1; it must be from 2"),
        ({"n_critic": 0}, "n_critic is 0; it must be from 1 to 100"),
        ({"generator_lr": -1e-4}, "generator_lr is -0.0001; it must be from 0 to 1"),
        ({"generator_lr": float("nan")}, "generator_lr is nan"),
        ({"gp_weight": float("inf")}, "gp_weight is inf"),
        ({"minutes": 0.0}, "minutes is 0.0; it must be from 0.001"),
        ({"real_target": 1.1}, "real_target is 1.1; it must be from 0.5 to 1"),
        ({"clip": 0.0}, "clip is 0.0"),
        ({"latent": "cauchy"}, "latent is 'cauchy'; use one of normal, uniform"),
        ({"lipschitz": "none"}, "lipschitz is 'none'; use one of clip, gp"),
        ({"upsample": "bilinear"}, "upsample is 'bilinear'; use one of transpose, nearest"),
        ({"precision": "fp16"}, "precision is 'fp16'; use one of auto, fp32, bf16"),
        ({"image_size": 30}, "image_size is 30; it must be one of 16, 20, 24, 28, 32"),
        ({"image_size": 0}, "image_size is 0; it must be one of 16"),
        ({"channels": 2}, "channels is 2; it must be 1 (grey) or 3 (RGB)"),
        ({"steps": 1.5}, "steps is 1.5; it must be a whole number"),
        ({"steps": True}, "steps is True; it must be a whole number"),
        ({"steps": None}, "steps is None; it must be a whole number"),
        ({"conditional": 1}, "conditional is 1; it must be true or false"),
        ({"device": 0}, "device is 0; it must be text"),
        ({"critic_norm": "batch"}, "critic_norm is 'batch', and wgan's critic has no BatchNorm; use none or spectral"),
    ],
)
def test_impossible_settings_are_refused_with_what_is_allowed(setting, words):
    with pytest.raises(ConfigError) as caught:
        TrainConfig.for_type(ONLY_FOR.get(next(iter(setting)), ("wgan",))[0], "digits", **setting)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_weight_of_a_class_loss_is_refused_where_no_critic_classifies():
    for changes in ({}, {"conditional": True}, {"conditioned_by": "auxiliary"}):
        with pytest.raises(ConfigError, match=r"auxiliary_weight is 0\.5, and this wgan's critic doesn't classify"):
            TrainConfig.for_type("wgan", "digits", auxiliary_weight=0.5, **changes)
    config = TrainConfig.for_type("wgan", "digits", auxiliary_weight=0.5, conditional=True, conditioned_by="auxiliary")
    assert config.auxiliary_weight == 0.5


@pytest.mark.parametrize(
    ("gan_type", "changes", "words"),
    [
        (
            "wgan",
            {"gp_weight": 5.0, "lipschitz": "clip"},
            "gp_weight has an effect only with lipschitz=gp; leave it out",
        ),
        ("wgan", {"clip": 0.5}, "clip has an effect only with lipschitz=clip; leave it out"),
        (
            "wgan",
            {"gp_every": 4, "gp_weight": 0.0},
            "gp_every has an effect only with lipschitz=gp and a gp_weight abov",
        ),
        ("dcgan", {"r1_every": 2, "r1_gamma": 0.0}, "r1_every has an effect only with an r1_gamma above 0"),
        ("dcgan", {"embed_dim": 7}, "embed_dim has an effect only in cgan, acgan, and wgan with conditional=true"),
        ("wgan", {"embed_dim": 7}, "embed_dim has an effect only in cgan"),
        ("cgan", {"mapping_width": 3}, "mapping_width has an effect only with mapping_layers above 0"),
        ("cgan", {"instance_noise_steps": 3}, "instance_noise_steps has an effect only with an instance_noise above 0"),
        ("wgan", {"lipschitz": "clip", "critic_norm": "spectral"}, "critic_norm is 'spectral', which undoes what lips"),
    ],
)
def test_settings_that_another_leaves_without_effect_are_refused(gan_type, changes, words):
    with pytest.raises(ConfigError) as caught:
        TrainConfig.for_type(gan_type, "digits", **changes)
    assert str(caught.value).startswith(words)


def test_what_a_preset_has_may_be_left_without_effect():
    config = TrainConfig.for_type("wgan", "digits", {"gp_weight": 1.0, "critic_lr": 1e-3}, lipschitz="clip", clip=0.1)
    assert (config.lipschitz, config.clip, config.critic_lr) == ("clip", 0.1, 1e-3)
    with pytest.raises(ConfigError, match="gp_weight has an effect only with lipschitz=gp"):
        TrainConfig.for_type("wgan", "digits", {"lipschitz": "clip"}, gp_weight=1.0)


@pytest.mark.parametrize(("changes", "value"), [({}, "concat"), ({"conditional": False}, "projection")])
def test_how_a_critic_sees_labels_is_refused_where_it_sees_none(changes, value):
    with pytest.raises(ConfigError, match=f"conditioned_by is '{value}', and this wgan sees no labels; add --cond"):
        TrainConfig.for_type("wgan", "digits", conditioned_by=value, **changes)


def test_a_stop_on_collapse_without_looks_is_refused():
    with pytest.raises(ConfigError, match="watch_every is 0, and stop_on_collapse needs looks at the samples; give"):
        TrainConfig.for_type("dcgan", "digits", stop_on_collapse=True, watch_every=0)


def test_a_setting_of_another_type_is_refused_and_not_ignored():
    for name, types in ONLY_FOR.items():
        for gan_type in set(GAN_TYPES) - set(types):
            default = getattr(TrainConfig("wgan", "digits"), name)
            with pytest.raises(ConfigError, match=f"{name} has no meaning for {gan_type}; it is a setting of"):
                TrainConfig.for_type(gan_type, "digits", **{name: default})


def test_dcgan_takes_no_labels():
    with pytest.raises(ConfigError, match="dcgan is unconditional; use --type cgan"):
        TrainConfig("dcgan", "digits", conditional=True)


def test_a_whole_number_will_do_where_any_number_may_stand():
    """As a preset's TOML file has it: torch's Adam takes no (0, 0.9)."""
    config = TrainConfig.for_type("wgan", "toy", beta1=0, drift=1, minutes=3, steps=10)
    assert build_loop_settings(config, bf16=False).betas == (0.0, 0.9)
    assert [type(each) for each in (config.beta1, config.drift, config.minutes, config.steps)] == [float] * 3 + [int]
    critic = torch.nn.Linear(1, 1)
    torch.optim.Adam(critic.parameters(), betas=build_loop_settings(config, bf16=False).betas)


@pytest.mark.parametrize("gan_type", GAN_TYPES)
def test_a_config_survives_json_and_refuses_unknown_names(gan_type):
    config = TrainConfig.for_type(gan_type, "folder:x", minutes=1.5, image_size=32)
    values = json.loads(json.dumps(config.to_dict()))
    assert TrainConfig.from_dict(values) == config
    with pytest.raises(ConfigError, match="unknown settings: colour, sound"):
        TrainConfig.from_dict(values | {"sound": 1, "colour": 2})


@pytest.mark.parametrize(
    ("gan_type", "settings", "head"),
    [
        ("dcgan", {}, "none"),
        ("cgan", {}, "projection"),
        ("cgan", {"conditioned_by": "concat"}, "concat"),
        ("acgan", {}, "auxiliary"),
        ("wgan", {}, "none"),
        ("wgan", {"conditional": True}, "projection"),
        ("wgan", {"conditional": True, "conditioned_by": "concat"}, "concat"),
        ("wgan", {"conditional": True, "conditioned_by": "auxiliary"}, "auxiliary"),
    ],
)
def test_specs_follow_type_and_settings(gan_type, settings, head):
    shape = {
        "latent_dim": 9,
        "latent": "uniform",
        "generator_width": 11,
        "critic_width": 12,
        "max_width": 99,
        "embed_dim": 7,
        "upsample": "nearest",
        "generator_slope": 0.1,
        "critic_slope": 0.3,
        "critic_norm": "spectral",
    }
    generator, critic = build_specs(TrainConfig.for_type(gan_type, "x", shape, **settings), 32, 3, 24)
    classes = 0 if head == "none" else 24
    assert critic.label_head == head
    assert generator.classes == critic.classes == classes
    assert (generator.image_size, generator.channels) == (critic.image_size, critic.channels) == (32, 3)
    assert (generator.latent_dim, generator.latent, generator.embed_dim) == (9, "uniform", 7)
    assert (generator.width, generator.max_width, generator.upsample, generator.slope) == (11, 99, "nearest", 0.1)
    assert (critic.width, critic.max_width, critic.norm, critic.slope) == (12, 99, "spectral", 0.3)


def test_a_ceiling_is_for_relu():
    generator, _ = build_specs(TrainConfig.for_type("wgan", "x", generator_ceiling=6), 28, 1, 10)
    assert generator.ceiling == 6.0
    with pytest.raises(ConfigError, match=r"^generator_ceiling is 6 and generator_slope 0\.1; .* generator_slope 0$"):
        TrainConfig.for_type("wgan", "x", generator_ceiling=6, generator_slope=0.1)


def test_loop_settings_follow_the_config():
    changes = {"generator_lr": 1e-3, "critic_lr": 2e-3, "beta1": 0.1, "beta2": 0.8, "ema_decay": 0.7, "lr_half_life": 9}
    noise = {"instance_noise": 0.2, "instance_noise_steps": 30}
    config = TrainConfig.for_type("wgan", "x", cuda_graph=False, translate=3, **changes, **noise)
    settings = build_loop_settings(config, bf16=True)
    assert dataclasses.asdict(settings) == {
        "generator_lr": 1e-3,
        "critic_lr": 2e-3,
        "betas": (0.1, 0.8),
        "lr_half_life": 9,
        "ema_decay": 0.7,
        **noise,
        "translate": 3,
        "bf16": True,
        "cuda_graph": False,
    }
