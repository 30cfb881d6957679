"""One run's configuration: every hyperparameter with its unit, its range and its default per GAN type."""

from __future__ import annotations

import types
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Final, Literal, NamedTuple, Self, get_args, get_origin

from .objectives import Lipschitz
from .ranges import RANGES, out_of_range
from .specs import SUPPORTED_SIZES, Latent, Norm, Upsample
from .words import did_you_mean

GanType = Literal["dcgan", "cgan", "acgan", "wgan"]
GAN_TYPES: Final[tuple[GanType, ...]] = get_args(GanType)
Precision = Literal["auto", "fp32", "bf16"]
ConditionedBy = Literal["projection", "concat", "auxiliary"]


class ConfigError(ValueError):
    """A setting that is unknown or has an impossible value; the message says what is allowed."""


@dataclass(frozen=True)
class TrainConfig:
    """All settings of a run. `--set name=value` reaches each of them by its name here."""

    type: GanType
    data: str  # digits, mnist, fashion-mnist, idx:DIR, folder:DIR, npz:FILE or hf:OWNER/NAME
    image_size: int | None = None  # pixels; None: the data's own
    channels: int | None = None  # 1 or 3; None: the data's own
    steps: int = 4000  # generator updates
    minutes: float | None = None  # stop after this much wall time, if that comes before `steps`
    batch_size: int = 64  # images
    seed: int = 0

    latent_dim: int = 64
    latent: Latent = "normal"
    latent_scale: float = 1.0  # of the latents that training draws; below 1, samples spread wider than what was trained
    generator_width: int = 64  # channels of the generator's last hidden feature map
    critic_width: int = 64  # channels of the critic's first feature map
    max_width: int = 512  # channels of any feature map
    embed_dim: int = 32  # length of the generator's label embedding
    mapping_layers: int = 0  # residual fully connected layers between the latent and the first feature map
    mapping_width: int = 64  # units of each
    upsample: Upsample = "transpose"
    dropout: float = 0.0  # share of the generator's hidden values that training zeroes
    generator_slope: float = 0.0  # LeakyReLU slope; 0 is ReLU
    generator_ceiling: float = 0.0  # where ReLU is cut off, as ReLU6 is at 6: int8 then shows less; 0: nowhere
    critic_slope: float = 0.2  # LeakyReLU slope
    critic_hidden: int = 0  # units of a fully connected layer before the critic's score; 0: none
    critic_norm: Norm = "none"
    conditional: bool = False  # wgan only: both nets see the label (cgan and acgan always are)
    conditioned_by: ConditionedBy = (
        "projection"  # how the critic of a cgan or conditional wgan sees the label; auxiliary, wgan only: it classifies
    )

    generator_lr: float = 2e-4
    critic_lr: float = 2e-4
    lr_half_life: int = 0  # steps in which both learning rates halve; 0: they stay
    beta1: float = 0.5  # Adam
    beta2: float = 0.999  # Adam
    ema_decay: float = 0.998  # per step
    instance_noise: float = 0.0  # standard deviation of noise on all images the critic sees, at first
    instance_noise_steps: int = 2000  # steps until that noise has faded to nothing
    translate: int = 0  # pixels that all images the critic sees are shifted by at most; for few images
    real_target: float = 1.0  # dcgan, cgan, acgan: below 1 is one-sided label smoothing
    soft_labels: float = 0.0  # dcgan, cgan, acgan: width of the range that real and fake targets are drawn from
    noisy_labels: float = 0.0  # dcgan, cgan, acgan: share of images whose real or fake target is swapped
    saturating: bool = False  # dcgan, cgan, acgan: the generator minimises log(1 - D), without the usual label flip
    r1_gamma: float = 0.0  # dcgan, cgan, acgan: weight of the gradient penalty on real images
    r1_every: int = 8  # critic steps between two such penalties
    auxiliary_weight: float = 1.0  # acgan, and wgan with conditioned_by=auxiliary: weight of the class loss
    n_critic: int = 5  # wgan: critic steps for each generator step
    lipschitz: Lipschitz = "gp"  # wgan
    clip: float = 0.01  # wgan with lipschitz=clip: largest absolute weight
    gp_weight: float = 10.0  # wgan with lipschitz=gp
    gp_every: int = 1  # wgan with lipschitz=gp: critic steps between two penalties
    drift: float = 0.0  # wgan: weight of the mean squared real score

    checkpoint_every: int = 500  # steps
    sample_every: int = 500  # steps
    log_every: int = 20  # steps
    watch_every: int = 100  # steps between looks at the diversity of fresh samples; 0: never
    evaluate_every: int = 1000  # steps between evaluations, by which best.pt is chosen; 0: never
    stop_on_collapse: bool = False
    report: bool = True  # write report.html
    precision: Precision = "auto"  # auto: bf16 where the processor multiplies it natively, and faster
    device: str = "auto"  # cpu, cuda, cuda:1, ...
    cuda_graph: bool = True  # on a GPU: record a step's work once and replay it; false starts every kernel anew

    RUNTIME: typing.ClassVar[frozenset[str]] = frozenset(
        {
            "steps",
            "minutes",
            "checkpoint_every",
            "sample_every",
            "log_every",
            "watch_every",
            "evaluate_every",
            "stop_on_collapse",
            "report",
            "cuda_graph",
        }
    )
    """Settings that may change on resume: they say how long and how chatty, not what is trained."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value, hint = getattr(self, field.name), SETTING_TYPES[field.name]
            _check_type(field.name, value, hint)
        for name in RANGES:
            value = getattr(self, name)
            if value is not None and (wrong := out_of_range(name, value)):
                raise ConfigError(wrong)
            if isinstance(value, int) and value_type(SETTING_TYPES[name])[0] is float:  # as TOML has it: beta1 = 0
                object.__setattr__(self, name, float(value))
        if self.image_size is not None and self.image_size not in SUPPORTED_SIZES:
            sizes = ", ".join(map(str, SUPPORTED_SIZES))
            raise ConfigError(f"image_size is {self.image_size}; it must be one of {sizes}")
        if self.channels not in (None, 1, 3):
            raise ConfigError(f"channels is {self.channels}; it must be 1 (grey) or 3 (RGB)")
        if self.generator_ceiling and self.generator_slope:
            raise ConfigError(
                f"generator_ceiling is {self.generator_ceiling:g} and generator_slope {self.generator_slope:g}; "
                "a ceiling is for ReLU, generator_slope 0"
            )
        if self.conditional and self.type == "dcgan":
            raise ConfigError("dcgan is unconditional; use --type cgan for labels")
        if self.conditioned_by == "auxiliary" and self.type == "cgan":
            raise ConfigError("conditioned_by is 'auxiliary', and a cgan's critic doesn't classify; use --type acgan")
        if self.critic_norm == "batch" and self.type == "wgan":
            raise ConfigError("critic_norm is 'batch', and wgan's critic has no BatchNorm; use none or spectral")

    @property
    def is_conditional(self) -> bool:
        """Whether the nets see labels."""
        return self.conditional or self.type in ("cgan", "acgan")

    @property
    def has_auxiliary(self) -> bool:
        """Whether the critic classifies."""
        return self.type == "acgan" or (self.conditional and self.type == "wgan" and self.conditioned_by == "auxiliary")

    @classmethod
    def for_type(cls, gan_type: str, data: str, preset: Mapping[str, Any] | None = None, **changes: Any) -> Self:
        """The type's defaults with `preset` and then `changes` on top.

        Raises:
            ConfigError: a value is impossible, or one of `changes` would have no effect. What `preset` has without
                effect is not refused: it may have one with other changes.
        """
        if gan_type not in GAN_TYPES:
            meant = did_you_mean(gan_type, GAN_TYPES, f"use one of {', '.join(GAN_TYPES)}")
            raise ConfigError(f"type {gan_type!r} is unknown{meant}")
        given = {**(preset or {}), **changes}
        for name in given:
            if gan_type not in ONLY_FOR.get(name, GAN_TYPES):
                types_of = " and ".join(ONLY_FOR[name])
                raise ConfigError(f"{name} has no meaning for {gan_type}; it is a setting of {types_of}")
        config = cls(**{"type": gan_type, "data": data, **TYPE_DEFAULTS[gan_type], **given})
        config._refuse_idle(changes)
        if "auxiliary_weight" in given and not config.has_auxiliary:
            raise ConfigError(
                f"auxiliary_weight is {config.auxiliary_weight:g}, and this wgan's critic doesn't classify; it "
                "does with conditional=true and conditioned_by=auxiliary"
            )
        if "conditioned_by" in given and not config.is_conditional:
            raise ConfigError(
                f"conditioned_by is {config.conditioned_by!r}, and this wgan sees no labels; add --conditional, or "
                "leave conditioned_by out"
            )
        config.refuse_blind_stop()
        return config

    def _refuse_idle(self, changes: Iterable[str]) -> None:
        """Raises ConfigError where one of these settings changes nothing, or another one makes it change nothing."""
        for name in changes:
            if name in ONLY_WITH and not ONLY_WITH[name].holds(self):
                raise ConfigError(f"{name} has an effect only {ONLY_WITH[name].when}; leave it out")
        if self.type == "wgan" and self.lipschitz == "clip" and self.critic_norm == "spectral":
            raise ConfigError(
                "critic_norm is 'spectral', which undoes what lipschitz=clip does to the weights; leave one of them out"
            )

    def refuse_blind_stop(self) -> None:
        """Raises ConfigError where the run is to stop on a collapse that nobody looks for."""
        if self.stop_on_collapse and not self.watch_every:
            raise ConfigError(
                "watch_every is 0, and stop_on_collapse needs looks at the samples; give watch_every 1 or more, or "
                "stop_on_collapse=false"
            )

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Rebuild from `to_dict`; raises ConfigError on names or values that no run can have."""
        unknown = set(values) - {field.name for field in fields(cls)}
        if unknown:
            raise ConfigError(f"unknown settings: {', '.join(sorted(unknown))}")
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def with_changes(self, changes: dict[str, Any]) -> Self:
        return replace(self, **changes)


TYPE_DEFAULTS: Final[dict[str, dict[str, Any]]] = {
    "dcgan": {"r1_gamma": 0.3, "generator_lr": 5e-4, "critic_lr": 5e-4, "beta2": 0.99},
    # One seed, 1,000 steps on digits: Frechet distance 0.039 (0.049 with 0.3 and 32), recall 0.58 (0.53).
    "cgan": {"r1_gamma": 1.0, "embed_dim": 8, "generator_lr": 5e-4, "critic_lr": 5e-4, "beta2": 0.99},
    "acgan": {"r1_gamma": 0.3, "generator_lr": 5e-4, "critic_lr": 5e-4, "beta2": 0.99},
    "wgan": {"generator_lr": 5e-4, "critic_lr": 5e-4, "beta2": 0.9},
}
"""What a type sets differently from TrainConfig's own defaults."""

_BCE: Final[tuple[GanType, ...]] = ("dcgan", "cgan", "acgan")
ONLY_FOR: Final[dict[str, tuple[GanType, ...]]] = {
    "conditional": ("wgan",),
    "conditioned_by": ("cgan", "wgan"),
    "real_target": _BCE,
    "soft_labels": _BCE,
    "noisy_labels": _BCE,
    "saturating": _BCE,
    "r1_gamma": _BCE,
    "r1_every": _BCE,
    "auxiliary_weight": ("acgan", "wgan"),
    "n_critic": ("wgan",),
    "lipschitz": ("wgan",),
    "clip": ("wgan",),
    "gp_weight": ("wgan",),
    "gp_every": ("wgan",),
    "drift": ("wgan",),
}
"""Settings that only some types have; given to another type they are refused, not ignored."""


class _Condition(NamedTuple):
    holds: Callable[[TrainConfig], bool]
    when: str  # in words


_PENALTY: Final = _Condition(lambda config: config.lipschitz == "gp", "with lipschitz=gp")
ONLY_WITH: Final[dict[str, _Condition]] = {
    "clip": _Condition(lambda config: config.lipschitz == "clip", "with lipschitz=clip"),
    "gp_weight": _PENALTY,
    "gp_every": _Condition(
        lambda config: _PENALTY.holds(config) and config.gp_weight > 0, "with lipschitz=gp and a gp_weight above 0"
    ),
    "r1_every": _Condition(lambda config: config.r1_gamma > 0, "with an r1_gamma above 0"),
    "embed_dim": _Condition(lambda config: config.is_conditional, "in cgan, acgan, and wgan with conditional=true"),
    "mapping_width": _Condition(lambda config: config.mapping_layers > 0, "with mapping_layers above 0"),
    "instance_noise_steps": _Condition(lambda config: config.instance_noise > 0, "with an instance_noise above 0"),
}
"""Settings that another one may leave without effect; given by hand they are refused then, not ignored."""


def value_type(hint: Any) -> tuple[Any, bool]:
    """The one plain type or Literal of a setting's hint, and whether None is allowed beside it."""
    options = get_args(hint) if get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    (kind,) = (option for option in options if option is not type(None))
    return kind, type(None) in options


def _check_type(name: str, value: object, hint: Any) -> None:
    kind, is_optional = value_type(hint)
    if value is None and is_optional:
        return
    if get_origin(kind) is Literal:
        if value not in get_args(kind):
            raise ConfigError(f"{name} is {value!r}; use one of {', '.join(map(str, get_args(kind)))}")
        return
    accepted = (int, float) if kind is float else (kind,)
    if not isinstance(value, accepted) or (isinstance(value, bool) and kind is not bool):
        raise ConfigError(f"{name} is {value!r}; it must be {TYPE_WORDS[kind]}")


TYPE_WORDS: Final[dict[type, str]] = {
    int: "a whole number",
    float: "a number",
    str: "text",
    bool: "true or false",
}
"""What a message calls each type of value."""
SETTING_TYPES: Final[dict[str, Any]] = {
    name: hint
    for name, hint in typing.get_type_hints(TrainConfig).items()
    if name in {field.name for field in fields(TrainConfig)}
}
"""The type hint of each setting."""
