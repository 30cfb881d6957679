"""What a state dict does not tell, and how a user is asked for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import isqrt
from typing import Any

ImageShape = tuple[int, int, int]  # channels, height, width
IMAGE_SHAPE = "image_shape"
CHANNELS = (1, 3)  # that an artifact can have


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


def image_shape_of(values: int) -> Question:
    """Asks how a flat output of so many values is an image."""
    squares = [f"{c},{side},{side}" for c in CHANNELS if c * (side := isqrt(values // c)) ** 2 == values]
    fits = f"{' or '.join(squares)} is the square one" if squares else "no square image has as many"

    def read(text: str) -> ImageShape:
        sizes = [int(part) for part in text.split(",") if part.strip().isascii() and part.strip().isdecimal()]
        if len(sizes) != 3 or text.count(",") != 2 or sizes[0] not in CHANNELS:
            raise ValueError("must be three whole numbers with 1 or 3 channels first")
        if sizes[0] * sizes[1] * sizes[2] != values:
            raise ValueError(f"makes {sizes[0] * sizes[1] * sizes[2]} values, not {values}")
        return sizes[0], sizes[1], sizes[2]

    return Question(
        key=IMAGE_SHAPE,
        choices=f"any with a product of {values}; {fits}",
        differs="a wrong one cuts the rows in the wrong places",
        read=read,
    )
