"""Convolutions whose kernel differs from image to image, in terms that ONNX has."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode


class PerSampleConvolutions(TorchFunctionMode):
    """Convolutions with as many groups as the batch has images, as in StyleGAN 2: ONNX wants a fixed number of groups.

    They become a sum of matrix products, one for each tap of the kernel.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        rewritten = _REWRITTEN.get(func)
        if rewritten is not None:
            convolution, names = rewritten
            given = dict(zip(names, args, strict=False)) | dict(kwargs or {})
            if isinstance(given.get("groups"), torch.SymInt) and not isinstance(given.get("padding"), str):
                return convolution(**given)
        return func(*args, **(kwargs or {}))


def _pair(value: int | Sequence[int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[-1])


def _conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: Any = 1,
) -> Tensor:
    """input (1, G*I, H, W), weight (G*O, I, kh, kw) -> (1, G*O, H', W')"""
    (top, left), (step_y, step_x), (gap_y, gap_x) = _pair(padding), _pair(stride), _pair(dilation)
    channels, rows, columns = weight.shape[1:]
    # A row more below, so that a tap's shift along the flattened image never leaves it.
    x = F.pad(input.reshape(groups, channels, *input.shape[2:]), (left, left, top, top + 1))
    height, width = x.shape[2] - 1 - gap_y * (rows - 1), x.shape[3]
    flat = x.flatten(2)
    taps = weight.reshape(groups, -1, channels, rows * columns).unbind(3)  # of (G, O, I)
    products = [
        taps[row * columns + column] @ flat.narrow(2, row * gap_y * width + column * gap_x, height * width)
        for row in range(rows)
        for column in range(columns)
    ]
    made = functools.reduce(torch.add, products).reshape(1, -1, height, width)
    made = made[:, :, ::step_y, : width - gap_x * (columns - 1) : step_x]
    return made if bias is None else made + bias.reshape(1, -1, 1, 1)


def _conv_transpose2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: Any = 1,
    dilation: Any = 1,
) -> Tensor:
    """input (1, G*I, H, W), weight (G*I, O, kh, kw) -> (1, G*O, H', W'): a convolution of the spread-out input."""
    (top, left), (step_y, step_x), (gap_y, gap_x) = _pair(padding), _pair(stride), _pair(dilation)
    more_y, more_x = _pair(output_padding)
    height, width = input.shape[2:]
    made, rows, columns = weight.shape[1:]
    spread = F.pad(input.reshape(1, -1, height, 1, width, 1), (0, step_x - 1, 0, 0, 0, step_y - 1))
    x = spread.reshape(1, -1, height * step_y, width * step_x)
    edge_y, edge_x = gap_y * (rows - 1) - top, gap_x * (columns - 1) - left
    x = F.pad(x, (edge_x, edge_x + more_x - (step_x - 1), edge_y, edge_y + more_y - (step_y - 1)))
    kernel = weight.reshape(groups, -1, made, rows, columns).flip(3, 4).transpose(1, 2)  # (G, O, I, kh, kw)
    channels = kernel.shape[2]
    return _conv2d(x, kernel.reshape(-1, channels, rows, columns), bias, dilation=(gap_y, gap_x), groups=groups)


_REWRITTEN: Final[Mapping[Any, tuple[Callable[..., Tensor], Sequence[str]]]] = {
    F.conv2d: (_conv2d, ("input", "weight", "bias", "stride", "padding", "dilation", "groups")),
    F.conv_transpose2d: (
        _conv_transpose2d,
        ("input", "weight", "bias", "stride", "padding", "output_padding", "groups", "dilation"),
    ),
}
