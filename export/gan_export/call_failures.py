"""What is said where a generator can be called in no way."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from torch import nn

from .adapter import CHANNELS, ImageShape, tensors_in
from .forward_hints import GIVEN_ALONE, hints_of, parameters_of, second_of_no_known_name

_SUBCLASS: Final = "write a subclass whose forward(self, z, label) takes ids and does the rest, and name it in --module"
NO_IMAGE: Final = 1_000_000  # deeper than any that failed: it ran


@dataclass(frozen=True)
class Failure:
    words: str
    reason: str
    depth: int  # submodules that had finished


def nothing_works(module: nn.Module, classes: int, failures: Sequence[Failure], extras: Mapping[str, Any]) -> str:
    signature = f"forward({', '.join(inspect.signature(module.forward).parameters)})"
    parameters = parameters_of(module, extras)
    _, _, takes_label = hints_of(module, extras)
    if classes and not takes_label:
        return (
            f"{signature} takes no label: leave out --classes, or, if latents and labels are joined before it is "
            f"called, {_SUBCLASS}"
        )
    if not failures:
        return f"{signature} takes no such arguments: leave out --label-as and --argument-order"
    best = max(failures, key=lambda failure: failure.depth)
    tried = "; ".join(dict.fromkeys(part for failure in failures for part in failure.words.split(" then ")))
    reason = f"{signature} gives no images with {best.words}: {best.reason}"
    return f"{reason}. {_advice(parameters, classes, takes_label, best)}Tried: {tried}"


def _advice(parameters: Mapping[str, inspect.Parameter], classes: int, takes_label: bool, best: Failure) -> str:
    """What to do about a forward that ran in no way; nothing if the reason says it."""
    needed = [one for one in parameters.values() if one.default is one.empty and one.kind in GIVEN_ALONE]
    if len(needed) > 2:
        return (
            f"It needs {len(needed)} arguments, where there are latents and labels alone: give the others with "
            f"--forward {needed[-1].name}=VALUE, or {_SUBCLASS}. "
        )
    if best.depth == NO_IMAGE:
        return ""
    second = second_of_no_known_name(parameters)
    if takes_label and not classes and second is not None:
        return f"If {second} is its label, give --classes K; if it is not, --forward {second}=VALUE. "
    if takes_label and not classes:
        return "It seems to take labels: give --classes K. "
    if takes_label and second is not None:
        return f"If {second} is not its label, leave out --classes and give --forward {second}=VALUE. "
    if takes_label:
        return f"Look at --latent and --classes; if its labels are neither ids nor one-hot, {_SUBCLASS}. "
    return "Look at --latent. "


def no_image(output: Any, wanted: ImageShape | None) -> str:
    shapes = [tuple(tensor.shape) for _, tensor in tensors_in(output)]
    if not shapes:
        return f"it gives {type(output).__name__}, no tensor"
    given = ", ".join("(" + ", ".join(["N", *map(str, shape[1:])]) + ")" for shape in shapes)
    if wanted is not None:
        return f"it gives {given}, not images of --image-shape {','.join(map(str, wanted))}"
    if flat := [shape[1] for shape in shapes if len(shape) == 2]:
        return f"it gives {given}: say how that is an image with --image-shape C,H,W{_squares(flat[0])}"
    return f"it gives {given}, no images of 1 or 3 channels; --image-shape C,H,W says which shape they have"


def _squares(values: int) -> str:
    """Square images of so many values, as examples."""
    sides = {channels: math.isqrt(values // channels) for channels in CHANNELS}
    fits = [f"{channels},{side},{side}" for channels, side in sides.items() if channels * side**2 == values]
    return f" (the square one is {' or '.join(fits)})" if fits else ""
