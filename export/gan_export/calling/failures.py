"""What is said where a generator can be called in no way."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn

from gan_export.conventions import CHANNELS, ImageShape

from .adapter import is_pixels, read_layout, tensors_in
from .forward_hints import GIVEN_ALONE, hints_of, parameters_of, second_of_no_known_name

_SUBCLASS: Final = "write a subclass whose forward(self, z, label) takes ids and does the rest, and name it in --module"
_DIMENSIONS: Final = re.compile(
    r"Expected \d|number of dimensions|out of range \(expected|too many indices|for tensor of dim"
)
"""Of what PyTorch says where a tensor has more or fewer dimensions than are wanted, whatever their sizes."""
_DOUBLE: Final = re.compile(r"\b(dtype|type)\b.*\b(Double|double|float64)\b")
"""Of what it says where float64 meets float32."""
_BATCH_OF_ONE: Final = re.compile(r"shape '\[1, .*\]' is invalid for input of size")
"""Of what it says where a forward reshapes to a single image."""
_GPU: Final = re.compile(
    r"\bCUDA\b|NVIDIA driver|ATen_cuda|libcuda|accelerator device when none|'_cuda_\w|dummy base class C(?:UDA|uda)|"
    r"torch\.cuda\.\w+Tensor|\bcuda(?::\d|'? device)|found 'cuda'"
)
"""Of what it says where forward asks for a GPU."""
_PLACE: Final = re.compile(r" \([^()]*:\d+\)$")
"""Of the line where it was raised, in a file that may be named after GPUs."""
NO_IMAGE: Final = 1_000_000  # deeper than any that failed: it ran


@dataclass(frozen=True)
class Failure:
    """A way to call a generator that gave no images."""

    words: str
    reason: str
    depth: int  # submodules that had finished
    operations: int = 0  # of PyTorch that had finished


def nothing_works(module: nn.Module, classes: int, failures: Sequence[Failure], extras: Mapping[str, Any]) -> str:
    """The failure that came farthest, what to do about it, and all that was tried, in one line."""
    signature = f"forward({', '.join(inspect.signature(module.forward).parameters)})"
    parameters = parameters_of(module, extras)
    _, _, takes_label = hints_of(module, extras)
    if classes and not takes_label:
        return (
            f"{signature} takes no label: leave out --classes, or, if latents and labels are joined before it is "
            f"called, {_SUBCLASS}"
        )
    if not failures:
        return f"{signature} can't be called that way: leave out --label-as and --argument-order"
    best = max(failures, key=lambda one: (one.depth, not _DIMENSIONS.search(one.reason), one.operations))
    tried = "; ".join(dict.fromkeys(part for failure in failures for part in failure.words.split(" then ")))
    reason = f"{signature} gives no images with {best.words}: {best.reason}"
    return f"{reason}. {_advice(parameters, classes, takes_label, best)}Tried: {tried}"


def _advice(parameters: Mapping[str, inspect.Parameter], classes: int, takes_label: bool, best: Failure) -> str:
    """What to do about a forward that ran in no way; nothing if the reason says it."""
    needed = [one for one in parameters.values() if one.default is one.empty and one.kind in GIVEN_ALONE]
    if len(needed) > 2:
        return (
            f"It needs {len(needed)} arguments, but only latents and labels are passed: give the others with "
            f"--forward {needed[-1].name}=VALUE, or {_SUBCLASS}. "
        )
    if best.depth == NO_IMAGE:
        return ""
    if _GPU.search(_PLACE.sub("", best.reason)):
        return "Generators are exported on the CPU: write z.device in forward instead of .cuda() or device='cuda'. "
    if _BATCH_OF_ONE.search(best.reason):
        return "If that 1 is the batch size, write -1 or x.shape[0]; else check --latent. "
    if _DOUBLE.search(best.reason):
        return (
            "Generators are exported in float32, weights included: don't use float64 in forward (.double(), "
            "dtype=torch.float64, NumPy arrays). "
        )
    second = second_of_no_known_name(parameters)
    if takes_label and not classes and second is not None:
        return (
            f"If {second} is its label, give --classes K; if it is a setting, --forward {second}=VALUE; if it is a "
            "second latent, write a subclass whose forward(self, z) splits z in two. "
        )
    if takes_label and not classes:
        return "It seems to take labels: give --classes K. "
    if takes_label and second is not None:
        return f"If {second} is not its label, leave out --classes and give --forward {second}=VALUE. "
    if takes_label:
        return f"Check --latent and --classes; if its labels are neither ids nor one-hot, {_SUBCLASS}. "
    return "Check --latent. "


def no_image(output: Any, batch: int, wanted: ImageShape | None) -> str:
    """Why an output of a forward on `batch` latents holds no images, and what to do."""
    given_out = [tensor for _, tensor in tensors_in(output)]
    if not given_out:
        return f"it gives {type(output).__name__}, not a tensor"
    tensors = [tensor for tensor in given_out if not tensor.is_nested]
    if not tensors:
        return "it gives a nested tensor: end forward with torch.stack(images.unbind())"
    if (each := _one_for_each(output, batch)) is not None:
        shape = f"({', '.join(map(str, each))})"
        return f"it gives a list of tensors {shape}, one for each latent: end forward with torch.stack(images)"
    shapes = [tuple(tensor.shape) for tensor in tensors]
    given = f"it gives {', '.join('(' + ', '.join(['N', *map(str, shape[1:])]) + ')' for shape in shapes)}"
    for tensor in tensors:
        if not is_pixels(tensor) and tensor.ndim > 1 and read_layout(tensor.shape, wanted) is not None:
            return f"{given} {_as_pixels(tensor)}"
    has_alpha = next((_without_alpha(shape) for shape in shapes if _without_alpha(shape)), "")
    if wanted is not None:
        return f"{given}, not images of --image-shape {','.join(map(str, wanted))}{has_alpha}"
    if has_alpha:
        return f"{given}{has_alpha}"
    if thin := next((one for shape in shapes for one in _thin(shape)), None):
        return f"{given}: if that really is an image one pixel wide or high, give --image-shape {thin}"
    if flat := [shape[1] for shape in shapes if len(shape) == 2]:
        return f"{given}: say how to read it as an image with --image-shape C,H,W{_squares(flat[0])}"
    return f"{given}, which is not images with 1 or 3 channels: end forward with a layer or a slice that gives 1 or 3"


def _one_for_each(output: Any, batch: int) -> torch.Size | None:
    """The shape of the first of a list of as many tensors as there are latents, each without a batch; None if there is
    no such list."""
    lists: dict[tuple[int | str, ...], list[Tensor]] = {}
    for path, tensor in tensors_in(output):
        lists.setdefault(path[:-1], []).append(tensor)
    for tensors in lists.values():
        if len(tensors) == batch and all(not one.is_nested and one.shape[:1] != (batch,) for one in tensors):
            return tensors[0].shape
    return None


def _as_pixels(tensor: Tensor) -> str:
    """What kind of numbers a tensor holds that is not of floats or bytes, one by one, and how to make floats of it."""
    kind = tensor.dtype if tensor.layout == torch.strided else tensor.layout
    way = ".to_dense()" if kind is tensor.layout else ".dequantize()" if tensor.is_quantized else ".float()"
    return f"of {str(kind).removeprefix('torch.')}: end forward with {'.real' if tensor.is_complex() else way}"


def _without_alpha(shape: tuple[int, ...]) -> str:
    """What to do about an output (N, 4, H, W) or (N, H, W, 4); empty for any other, such as maps (N, C, 4, 4)."""
    if len(shape) != 4 or not (shape[1] == 4 or shape[3] == 4 != shape[2]):
        return ""
    return f"; alpha is not supported: end forward with {'[:, :3]' if shape[1] == 4 else '[..., :3]'}"


def _thin(shape: tuple[int, ...]) -> list[str]:
    """The ways in which an output is an image of one row or column: nobody means that, as a rule."""
    rest = shape[1:]
    if len(rest) == 2:
        return [f"1,{rest[0]},{rest[1]}"] if min(rest) == 1 else []
    if len(rest) != 3 or min(rest) < 1:
        return []
    ways = [(rest[0], rest[1], rest[2]), (rest[2], rest[0], rest[1])]
    return [",".join(map(str, way)) for way in ways if way[0] in CHANNELS and min(way[1:]) == 1]


def _squares(values: int) -> str:
    """Square images of so many values, as examples."""
    sides = {channels: math.isqrt(values // channels) for channels in CHANNELS}
    fits = [f"{channels},{side},{side}" for channels, side in sides.items() if channels * side**2 == values]
    return f" (the square one is {' or '.join(fits)})" if fits else ""
