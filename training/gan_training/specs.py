"""Specifications: frozen dataclasses that hold all that is needed to rebuild a net, number for number.

They stand in every checkpoint and in every exported manifest; a net is a function of its spec and its weights.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, Literal, Self, get_args

Latent = Literal["normal", "uniform"]
Upsample = Literal["transpose", "nearest"]
Norm = Literal["batch", "none", "spectral"]
LabelHead = Literal["none", "concat", "projection", "auxiliary"]

MIN_BASE, MAX_BASE = 4, 7  # edge of the smallest feature map
SUPPORTED_SIZES: tuple[int, ...] = tuple(
    sorted(
        base * 2**doublings
        for base in range(MIN_BASE, MAX_BASE + 1)
        for doublings in range(2, 6)
        if base * 2**doublings <= 128
    )
)
"""Image sizes in pixels that halve at least twice to an edge of 4 to 7: 16, 20, 24, 28, 32, 40, ..., 128."""


class SpecError(ValueError):
    """A spec whose values no net can have."""


def halvings(image_size: int) -> tuple[int, int]:
    """Edge of the smallest feature map, and how often it doubles to `image_size`: 28 -> (7, 2), 64 -> (4, 4)."""
    if image_size not in SUPPORTED_SIZES:
        raise SpecError(f"image size {image_size} is not supported; use one of {', '.join(map(str, SUPPORTED_SIZES))}")
    base, doublings = image_size, 0
    while base > MAX_BASE:
        base, doublings = base // 2, doublings + 1
    return base, doublings


@dataclass(frozen=True)
class _Spec:
    ADDED: ClassVar[frozenset[str]] = frozenset()
    """Fields that older checkpoints lack; their defaults are what nets did before there was a choice."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values only, so that it can stand in a checkpoint and in JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Rebuild from `to_dict`; raises SpecError on missing, unknown or impossible values."""
        names = {f.name for f in fields(cls)}
        if not names - cls.ADDED <= set(values) <= names:
            raise SpecError(f"{cls.__name__} has the fields {sorted(names)}, not {sorted(map(str, values))}")
        return cls(**values)


@dataclass(frozen=True)
class GeneratorSpec(_Spec):
    """The convolutional generator of nets.py: latent (and label) -> image in [-1, 1]."""

    ADDED = frozenset({"ceiling", "dropout", "mapping_layers", "mapping_width"})

    image_size: int  # pixels
    channels: int  # 1 or 3
    latent_dim: int = 64
    latent: Latent = "normal"
    classes: int = 0  # 0: unconditional
    embed_dim: int = 32  # length of the label embedding that is joined to the latent
    mapping_layers: int = 0  # residual fully connected layers between both and the first feature map; 0: none
    mapping_width: int = 64  # units of each
    width: int = 64  # channels of the last hidden feature map; doubles towards the latent
    max_width: int = 512
    upsample: Upsample = "transpose"
    slope: float = 0.0  # LeakyReLU slope; 0 is ReLU
    ceiling: float = 0.0  # where ReLU is cut off, as ReLU6 is at 6; 0: nowhere
    dropout: float = 0.0  # share of hidden values that training zeroes
    norm_eps: float = 1e-5
    norm_momentum: float = 0.1

    def __post_init__(self) -> None:
        _check_image(self.image_size, self.channels, self.classes)
        _check_positive(self, "latent_dim", "embed_dim", "mapping_width", "width", "max_width")
        _check_not_negative(self, "mapping_layers")
        _check_choice("latent", self.latent, get_args(Latent))
        if not 0 <= self.dropout < 1:
            raise SpecError(f"dropout is {self.dropout}; use 0 or more, below 1")
        if not 0 <= self.ceiling < math.inf:
            raise SpecError(f"ceiling is {self.ceiling}; use a number above 0, or 0 for none")
        if self.ceiling and self.slope:
            raise SpecError(f"ceiling is {self.ceiling:g} and slope is {self.slope:g}; a ceiling is for ReLU, slope 0")
        _check_choice("upsample", self.upsample, get_args(Upsample))


@dataclass(frozen=True)
class CriticSpec(_Spec):
    """The convolutional discriminator (critic) of nets.py: image (and label) -> score."""

    ADDED = frozenset({"hidden"})

    image_size: int  # pixels
    channels: int  # 1 or 3
    classes: int = 0  # 0: unconditional
    label_head: LabelHead = "none"
    width: int = 64  # channels of the first feature map; doubles towards the score
    max_width: int = 512
    hidden: int = 0  # units of a fully connected layer before the heads; 0: none
    norm: Norm = "none"
    slope: float = 0.2  # LeakyReLU slope
    norm_eps: float = 1e-5
    norm_momentum: float = 0.1

    def __post_init__(self) -> None:
        _check_image(self.image_size, self.channels, self.classes)
        _check_positive(self, "width", "max_width")
        _check_not_negative(self, "hidden")
        _check_choice("norm", self.norm, get_args(Norm))
        _check_choice("label_head", self.label_head, get_args(LabelHead))
        if (self.label_head == "none") != (self.classes == 0):
            raise SpecError(f"label_head {self.label_head!r} does not fit {self.classes} classes")


def _check_image(image_size: int, channels: int, classes: int) -> None:
    halvings(image_size)
    if channels not in (1, 3):
        raise SpecError(f"channels is {channels}; use 1 (grey) or 3 (RGB)")
    if classes < 0:
        raise SpecError(f"classes is {classes}; use 0 (unconditional) or more")


def _check_positive(spec: object, *names: str) -> None:
    for name in names:
        value = getattr(spec, name)
        if not isinstance(value, int) or value < 1:
            raise SpecError(f"{name} is {value!r}; use a whole number of at least 1")


def _check_not_negative(spec: object, name: str) -> None:
    value = getattr(spec, name)
    if not isinstance(value, int) or value < 0:
        raise SpecError(f"{name} is {value!r}; use a whole number, 0 for no such layer")


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise SpecError(f"{name} is {value!r}; use one of {', '.join(map(str, choices))}")
