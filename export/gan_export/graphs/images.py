"""What a graph's output means as images: layout, size and range, seen on images that it gave."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gan_export.conventions import CHANNELS, RANGES, ImageShape, Layout, Range, check_range_of_bytes, find_range
from gan_export.refusal import IntakeError

from .ports import Port
from .signature import GraphOptions


@dataclass(frozen=True)
class Images:
    """How an output holds images."""

    layout: Layout
    shape: ImageShape
    value_range: Range

    def pixels(self, raw: NDArray[Any]) -> NDArray[np.float64]:
        """The output as images (N, C, H, W) on [-1, 1]."""
        images = raw.astype(np.float64)
        images = images.transpose(0, 3, 1, 2) if self.layout == "nhwc" else images.reshape(-1, *self.shape)
        low, high = self.value_range
        return (images - low) * 2 / (high - low) - 1


@dataclass(frozen=True)
class Seen:
    """An output on some inputs."""

    first: NDArray[Any]  # of the first images, as it is
    low: float  # of all images: the least and the greatest finite value; NaN without any
    high: float
    count: int


def read_images(seen: Seen, output: Port, options: GraphOptions) -> Images:
    """How an output holds images.

    Args:
        seen: what it gave.
        output: its name, type and declared shape.
        options: what need not be found out.

    Raises:
        IntakeError: no images, or a range that only the user can know.
    """
    layout, shape = _read_layout(seen.first.shape, output, options)
    return Images(layout, shape, _read_range(seen, options))


def _read_layout(shape: tuple[int, ...], output: Port, options: GraphOptions) -> tuple[Layout, ImageShape]:
    rest, wanted = shape[1:], options.image_shape
    readings: list[tuple[Layout, tuple[int, ...], ImageShape]] = []
    if wanted is not None:
        c, h, w = wanted
        readings = [("nchw", (c, h, w), wanted), ("nhwc", (h, w, c), wanted), ("flat", (c * h * w,), wanted)]
        readings += [("nhw", (h, w), wanted)] if c == 1 else []
    elif len(rest) == 3:
        readings = [("nchw", rest, (rest[0], rest[1], rest[2])), ("nhwc", rest, (rest[2], rest[0], rest[1]))]
    elif len(rest) == 2:
        readings = [("nhw", rest, (1, rest[0], rest[1]))]
    for layout, expected, image in readings:
        if rest == expected and image[0] in CHANNELS and min(image) > 0:
            return layout, image
    found = f"its output {output.describe()} gives {'x'.join(map(str, rest)) or 'no'} values per image"
    if wanted is not None:
        raise IntakeError(f"--image-shape {','.join(map(str, wanted))}: {found}; channels must be 1 or 3")
    if len(rest) == 1:
        raise IntakeError(f"{found}, in a row: give --image-shape C,H,W")
    if len(rest) == 3 and 4 in (rest[0], rest[2]):
        raise IntakeError(f"{found}; alpha is not supported: leave it out of the graph, with a slice at its end")
    raise IntakeError(f"{found}; images with 1 or 3 channels are needed: give --output NAME")


def _read_range(seen: Seen, options: GraphOptions) -> Range:
    asked = options.output_range
    if asked is not None and asked not in RANGES.values():
        low, high = asked
        raise IntakeError(f"--output-range {low:g},{high:g}: use one of {', '.join(RANGES)}")
    if seen.first.dtype == np.uint8:
        return check_range_of_bytes(asked)
    return find_range(seen.low, seen.high, seen.count) if asked is None else asked
