"""How generators are called and what their outputs mean: what modules and ONNX graphs have in common; without torch."""

from __future__ import annotations

import math
from typing import Final, Literal, TypeAlias

from .refusal import IntakeError

LatentShape = Literal["flat", "map"]
LabelInput = Literal["ids", "one_hot", "one_hot_map", "none", "null"]
LabelKind = Literal["ids", "one_hot", "one_hot_map", "none"]
"""Of a graph, whose inputs are never None."""
Order = Literal["latent_first", "label_first"]
Layout = Literal["nchw", "nhwc", "nhw", "flat"]
ImageShape: TypeAlias = tuple[int, int, int]  # (C, H, W)
Range: TypeAlias = tuple[float, float]

TANH: Final[Range] = (-1.0, 1.0)
SIGMOID: Final[Range] = (0.0, 1.0)
BYTES: Final[Range] = (0.0, 255.0)
RANGES: Final = {"-1,1": TANH, "0,1": SIGMOID, "0,255": BYTES}
"""Those that images can be on, as --output-range takes them."""
CHANNELS: Final = (1, 3)
MAX_SIDE: Final = 4096  # pixels

LATENT_FORMS: Final = {"flat": "(N, {latent_dim})", "map": "(N, {latent_dim}, 1, 1)"}
"""For str.format."""
LABEL_FORMS: Final = {
    "ids": "ids (N,)",
    "one_hot": "one-hot labels (N, {classes})",
    "one_hot_map": "one-hot labels (N, {classes}, 1, 1)",
}

LATENT_NAMES: Final = frozenset({"z", "noise", "latent", "latents", "latent_code", "noise_vector"})
"""What arguments and inputs that take latents are called, in lower case."""
INPUT_NAMES: Final = frozenset({"input", "inputs", "x"})
"""What the first argument of any forward may be called."""
LABEL_NAMES: Final = frozenset(
    {
        *("y", "c", "label", "labels", "gen_labels", "class", "classes", "cls", "cond", "condition", "one_hot"),
        *("onehot", "class_label", "class_labels", "class_id", "class_ids", "class_vector", "target", "targets"),
    }
)
"""What arguments and inputs that take labels are called, in lower case."""

ROUNDING: Final = 1e-5  # by which values may be outside of their range
ENDS: Final = 0.05  # share of [0, 255] within which some value has to come of either end
NEGATIVE: Final = -0.05  # a tanh generator goes below this, a sigmoid one can't


def find_range(low: float, high: float, images: int) -> Range:
    """The range that a generator's output is on, where that is certain.

    It is [0, 1] where both its lowest and its highest quarter are reached and nothing is outside: a generator on
    [-1, 1] that never leaves the upper half but reaches both ends of it is unlikely. It is [0, 255] where both ends are
    all but reached: an output without bounds may well end anywhere below.

    Args:
        low: the least finite value of some images; NaN if there is none.
        high: the greatest.
        images: how many, for the message.

    Raises:
        IntakeError: no range that pixels can be made of, or one that only the user can know.
    """
    if math.isnan(low):
        raise IntakeError("its output is NaN or infinite everywhere; export an earlier checkpoint")
    found = f"its output is between {low:.6g} and {high:.6g} on {images} images"
    if low < -1 - ROUNDING or high > BYTES[1] + ROUNDING or (low < -ROUNDING and high > 1 + ROUNDING):
        raise IntakeError(
            f"{found}: images must be on [-1, 1], [0, 1] or [0, 255]; end it with tanh, sigmoid or a clamp"
        )
    if low < NEGATIVE:
        return TANH
    if high <= 1 + ROUNDING:
        if -ROUNDING <= low < 0.25 and high > 0.75:
            return SIGMOID
        raise IntakeError(f"{found}, which fits both [-1, 1] and [0, 1]: give --output-range -1,1 or 0,1")
    if low < ENDS * BYTES[1] and high > (1 - ENDS) * BYTES[1]:
        return BYTES
    raise IntakeError(
        f"{found}, which may be a part of [0, 255] or unbounded: give --output-range 0,255 if these are bytes, or end "
        "it with tanh, sigmoid or a clamp"
    )


def check_range_of_bytes(asked: Range | None) -> Range:
    """The range of an output of type uint8; raises IntakeError if another was asked for."""
    if asked not in (None, BYTES):
        raise IntakeError("its output is uint8, which is on [0, 255]: leave --output-range out")
    return BYTES


def parse_image_shape(text: str) -> ImageShape:
    """`C,H,W`.

    Raises:
        ValueError: it is written otherwise, or sizes are out of range; a phrase that says what is wanted.
    """
    parts = [part.strip() for part in text.split(",")]
    sizes = [int(part) if part.isascii() and part.isdecimal() else 0 for part in parts]
    if len(sizes) != 3 or sizes[0] not in CHANNELS or not all(0 < size <= MAX_SIDE for size in sizes):
        raise ValueError(
            f"must be channels (1 or 3: alpha is not supported), height and width, each up to {MAX_SIDE}, e.g. 3,64,64"
        )
    return sizes[0], sizes[1], sizes[2]
