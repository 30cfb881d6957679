"""Whatever a generator's own forward wants and gives, called as module(z[, label]) -> (N, C, H, W) on [-1, 1]."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gan_export.artifact import draw
from gan_export.artifact.latents import Distribution
from gan_export.conventions import (
    CHANNELS,
    LABEL_FORMS,
    LATENT_FORMS,
    TANH,
    ImageShape,
    LabelInput,
    LatentShape,
    Layout,
    Order,
    Range,
    find_range,
)
from gan_export.refusal import IntakeError
from gan_export.user_code.errors import describe_error, exit_is_raised, place_of

RANGE_IMAGES: Final = 64
RANGE_BATCH: Final = 16  # of them at once
_LABEL_WORDS: Final = {
    **{kind: f"labels as {form}" if kind == "ids" else form for kind, form in LABEL_FORMS.items()},
    "none": "no labels",
    "null": "None for the label",
}


@dataclass(frozen=True)
class Convention:
    """How a generator wants to be called and what its output means."""

    latent_dim: int
    classes: int
    latent_shape: LatentShape
    label: LabelInput
    order: Order
    layout: Layout
    image_shape: ImageShape
    output: tuple[int | str, ...] = ()
    """Where the image is in what forward returns: indices, keys or attributes; () if it is returned itself."""
    label_name: str | None = None
    """Pass the label by this name; None: by position."""
    value_range: Range = TANH
    """Range of the module's own output; bytes are on (0, 255)."""
    extras: tuple[tuple[str, Any], ...] = ()
    """Further arguments of forward, passed by name, always the same."""

    def describe(self) -> str:
        """In words, on one line."""
        latent = f"latents {LATENT_FORMS[self.latent_shape].format(latent_dim=self.latent_dim)}"
        label = _LABEL_WORDS[self.label].format(classes=self.classes)
        arguments = [latent] if self.label == "none" else [latent, label]
        if self.order == "label_first":
            arguments.reverse()
        extras = ", ".join(f"{name}={value!r}" for name, value in self.extras)
        words = " then ".join(arguments) + f" with {extras}" * bool(extras)
        shape = "N, {}, {}, {}".format(*self.image_shape)
        if self.layout != "nchw":
            shape += f" from {self.layout.upper()}"
        where = f" at {path_words(self.output)}" if self.output else ""
        low, high = self.value_range
        return f"{words} -> images ({shape}) on [{low:g}, {high:g}]{where}"

    def to_dict(self) -> dict[str, Any]:
        """For the manifest's hyperparameters: plain values."""
        return dataclasses.asdict(self) | {
            "image_shape": list(self.image_shape),
            "output": list(self.output),
            "value_range": list(self.value_range),
            "extras": {name: repr(value) for name, value in self.extras},
        }


class Adapted(nn.Module):
    """A generator behind its convention: z (N, latent_dim) float32[, label (N,) int64] -> (N, C, H, W) on [-1, 1]."""

    def __init__(self, generator: nn.Module, convention: Convention) -> None:
        super().__init__()
        self.generator = generator
        self.convention = convention

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        convention = self.convention
        image = pick(call(self.generator, convention, z, label), convention.output)
        pixels = to_nchw(image, convention.layout, convention.image_shape)
        if pixels.dtype != z.dtype:  # bytes, or another precision
            pixels = pixels.to(z.dtype)
        low, high = convention.value_range
        return pixels if (low, high) == TANH else pixels * (2.0 / (high - low)) - (high + low) / (high - low)


def call(generator: nn.Module, convention: Convention, z: Tensor, label: Tensor | None) -> Any:
    """What the generator's own forward returns for the convention's arguments."""
    latent = z.reshape(*z.shape, 1, 1) if convention.latent_shape == "map" else z
    extras = dict(convention.extras)
    if convention.label == "none":
        return generator(latent, **extras)
    given = None if label is None else encode(label, convention, z.dtype)
    if convention.label_name is not None:
        return generator(latent, **{convention.label_name: given}, **extras)
    arguments = (latent, given) if convention.order == "latent_first" else (given, latent)
    return generator(*arguments, **extras)


def encode(label: Tensor, convention: Convention, dtype: torch.dtype) -> Tensor:
    """Ids (N,) as the generator wants them; one-hot labels are of the latents' type."""
    if convention.label == "ids":
        return label
    hot = F.one_hot(label, convention.classes).to(dtype)
    return hot.reshape(*hot.shape, 1, 1) if convention.label == "one_hot_map" else hot


def pick(output: Any, path: Sequence[int | str]) -> Any:
    """The element of a nested output at `path`."""
    for step in path:
        named = isinstance(step, str) and not isinstance(output, Mapping)
        output = getattr(output, str(step)) if named else output[step]
    return output


def to_nchw(image: Tensor, layout: Layout, shape: ImageShape) -> Tensor:
    """Any layout -> (N, C, H, W)"""
    if layout == "nhwc":
        return image.permute(0, 3, 1, 2)
    return image if layout == "nchw" else image.reshape(-1, *shape)


def tensors_in(output: Any, path: tuple[int | str, ...] = ()) -> Iterator[tuple[tuple[int | str, ...], Tensor]]:
    """Tensors of a nested output with their places, in order."""
    if isinstance(output, Tensor):
        yield path, output
        return
    steps: Sequence[tuple[int | str, Any]] = ()
    if isinstance(output, Mapping):
        steps = [(key, value) for key, value in output.items() if isinstance(key, str)]
    elif isinstance(output, tuple | list):
        steps = list(enumerate(output))
    elif dataclasses.is_dataclass(output):
        steps = [(field.name, getattr(output, field.name)) for field in dataclasses.fields(output)]
    for step, value in steps:
        yield from tensors_in(value, (*path, step))


def is_pixels(tensor: Tensor) -> bool:
    """Whether its type is one that images have: floats of any precision, or bytes, not sparse or nested."""
    return (
        not tensor.is_nested
        and tensor.layout == torch.strided
        and (tensor.is_floating_point() or tensor.dtype == torch.uint8)
    )


def read_layout(shape: Sequence[int], wanted: ImageShape | None) -> tuple[Layout, ImageShape] | None:
    """How an output of `shape` (N, ...) holds images; None if it does not, or if only `--image-shape` can tell.

    Args:
        shape: of the output, N included.
        wanted: (C, H, W) if it was given.
    """
    rest = tuple(shape[1:])
    if wanted is not None:
        channels, height, width = wanted
        layouts: dict[Layout, tuple[int, ...]] = {
            "nchw": (channels, height, width),
            "nhwc": (height, width, channels),
            "flat": (channels * height * width,),
        }
        if channels == 1:
            layouts["nhw"] = (height, width)
        return next(((layout, wanted) for layout, expected in layouts.items() if rest == expected), None)
    readings: list[tuple[Layout, ImageShape]] = []
    if len(rest) == 3:
        readings = [("nchw", (rest[0], rest[1], rest[2])), ("nhwc", (rest[2], rest[0], rest[1]))]
    elif len(rest) == 2:
        readings = [("nhw", (1, rest[0], rest[1]))]
    return next(((way, image) for way, image in readings if image[0] in CHANNELS and min(image[1:]) > 1), None)


def measure_range(module: nn.Module, convention: Convention, distribution: Distribution = "normal") -> Range:
    """The range of a generator's own output over 64 seeded latents and all labels in turn.

    Raises:
        IntakeError: forward fails, or `find_range` does.
    """
    adapted = Adapted(module, replace(convention, value_range=TANH)).eval()
    z = torch.from_numpy(draw(range(RANGE_IMAGES), convention.latent_dim, distribution).latents)
    label = torch.arange(RANGE_IMAGES) % convention.classes if convention.classes else None
    low, high = math.inf, -math.inf
    with torch.no_grad(), user_code():
        for i in range(0, RANGE_IMAGES, RANGE_BATCH):
            rows = slice(i, i + RANGE_BATCH)
            try:
                pixels = adapted(z[rows], None if label is None else label[rows])
            except Exception as error:
                classes = f", labels from 0 to {convention.classes - 1}" if convention.classes else ""
                raise IntakeError(
                    f"forward fails on a batch of {RANGE_BATCH} latents{classes}: {describe_error(error)}"
                ) from error
            finite = pixels[pixels.isfinite()]  # NaN in some images is for the certificate to refuse
            if finite.numel():
                low, high = min(low, float(finite.min())), max(high, float(finite.max()))
    return find_range(low, high, RANGE_IMAGES) if low <= high else find_range(math.nan, math.nan, RANGE_IMAGES)


@contextlib.contextmanager
def user_code() -> Iterator[None]:
    """What it prints must not get between the lines of --json, nor what torch warns its author of; nor may it exit.

    What it raises that is no Exception becomes one; Ctrl-C goes through.
    """
    with contextlib.redirect_stdout(sys.stderr), warnings.catch_warnings(), exit_is_raised():
        warnings.simplefilter("ignore")
        try:
            yield
        except SystemExit as error:
            place = place_of(error)
            at = f", at {place}" if place else ""
            raise RuntimeError(f"it ends the program (exit code {error.code}{at})") from error
        except (Exception, KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:
            raise RuntimeError(f"it raises {describe_error(error)}, which is not an Exception") from error


def path_words(path: Sequence[int | str]) -> str:
    """A place in what forward returns, as Python would write it."""
    return "output" + "".join(f"[{step!r}]" for step in path)
