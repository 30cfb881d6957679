"""What a state dict does not tell, and how a user is asked for it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gan_export.conventions import CHANNELS, ImageShape, parse_image_shape

IMAGE_SHAPE = "image_shape"


@dataclass(frozen=True)
class Question:
    """A setting that changes the images and that no key or shape tells."""

    key: str
    choices: str
    differs: str  # what would come out with the wrong answer
    read: Callable[[str], Any]  # the user's text -> the setting; ValueError with a phrase
    default: str | None = None  # what the repository's code says; None if it has to be asked

    @property
    def option(self) -> str:
        """How a user gives the answer."""
        return "--image-shape C,H,W" if self.key == IMAGE_SHAPE else f"--init {self.key}=VALUE"

    def __str__(self) -> str:
        return f"{self.option}: {self.choices}; {self.differs}"


def batch_norm_eps(default: float, origin: str, instead: str) -> Question:
    """Asks for the eps of BatchNorm where the repository's is not PyTorch's.

    Args:
        origin: where the repository's value comes from.
        instead: when another value is right.
    """
    return Question(
        key="eps",
        choices=f"{default:g} (the default, {origin}) or {instead}",
        differs="each BatchNorm divides by sqrt(variance + eps), so contrast and colours are wrong under the other",
        read=_read_eps,
        default=f"{default:g}",
    )


def _read_eps(text: str) -> float:
    try:
        eps = float(text)
    except ValueError:
        eps = 0.0
    if not 0.0 < eps <= 1.0:
        raise ValueError("must be a number above 0 and up to 1")
    return eps


def ask_image_shape(values: int) -> Question:
    """Asks how a flat output of so many values is an image."""
    squares = [f"{c},{side},{side}" for c in CHANNELS if c * (side := math.isqrt(values // c)) ** 2 == values]
    fits = f"{' or '.join(squares)} is the square one" if squares else "no square image has that many values"

    def read(text: str) -> ImageShape:
        shape = parse_image_shape(text)
        if math.prod(shape) != values:
            raise ValueError(f"makes {math.prod(shape)} values, not {values}")
        return shape

    return Question(
        key=IMAGE_SHAPE,
        choices=f"any with a product of {values}; {fits}",
        differs="a wrong one cuts the rows in the wrong places",
        read=read,
    )
