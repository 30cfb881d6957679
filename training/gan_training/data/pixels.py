"""Pillow images and arrays of any kind -> square 8-bit images, grey or RGB."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

_UPRIGHT: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What makes an image of each EXIF orientation upright."""
_DAMAGED_EXIF: Final = (
    SyntaxError, ValueError, TypeError, AttributeError, LookupError, ArithmeticError, EOFError, OSError, struct.error,
)  # fmt: skip
"""What Pillow raises on metadata that are damaged, and beside which the pixels may be whole."""
_PER_TASK = 16  # images; handing over a task costs as much as resizing one small image, and some memory


def flatten(image: Image.Image) -> Image.Image:
    """The first frame of `image`, upright by its EXIF orientation if that can be read, as 8-bit mode L or RGB.

    Transparent pixels are composited on white. 16-bit grey (0..65535) is scaled to 0..255 and rounded, never
    clipped; float grey must be in [0, 1]. Raises `ValueError` for a range that has no sure meaning, and
    whatever Pillow raises for a file it can't decode.
    """
    image.load()  # first: what is wrong with the pixels is no fault of the metadata
    turn = _UPRIGHT.get(_orientation(image))
    image = image if turn is None else image.transpose(turn)
    if image.mode == "F":
        return Image.fromarray(from_unit_floats(np.asarray(image)))
    if image.mode.startswith("I"):
        return _from_16_bit(image)
    if image.has_transparency_data:
        page = Image.new("RGBA", image.size, "white")
        page.alpha_composite(image.convert("RGBA"))
        return page.convert("RGB")
    return image.convert("L" if image.mode in ("1", "L") else "RGB")


def square(image: Image.Image, size: int) -> Image.Image:
    """`image` (mode L or RGB) cropped to its central square, then resized to `size` x `size` pixels.

    Lanczos with a support that grows with the reduction, so that it doesn't alias. When the square already
    has that size its pixels are kept as they are: the crop is at whole pixels.
    """
    width, height = image.size
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    box = (left, top, left + side, top + side)
    return image.resize((size, size), Image.Resampling.LANCZOS, box=box)


def from_unit_floats(values: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Floats in [0, 1] of any shape -> uint8 of the same shape, rounded to the nearest of 0..255.

    Raises `ValueError` when a value is not finite or outside [0, 1].
    """
    low, high = float(values.min()), float(values.max())  # NaN anywhere makes both NaN
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ValueError("holds values that are not finite (NaN or infinity); remove them")
    if low < 0 or high > 1:
        raise ValueError(f"holds floats in [{low:g}, {high:g}]; floats must be in [0, 1], or use uint8 0..255")
    result = np.empty(values.shape, np.uint8)
    for source, target in zip(values, result, strict=True):  # by rows: no float copy of everything
        target[...] = np.rint(source * 255.0)
    return result


def reshape(pixels: NDArray[np.uint8], size: int, channels: int) -> NDArray[np.uint8]:
    """(N, H, W, C) of any H and W -> (N, size, size, channels).

    Cropped and resized by `square`; grey to RGB repeats the channel, RGB to grey is Pillow's luma
    (0.299 R + 0.587 G + 0.114 B).
    """
    if pixels.shape[1:] == (size, size, channels):
        return pixels
    result = np.empty((len(pixels), size, size, channels), np.uint8)
    sources = pixels[:, :, :, 0] if pixels.shape[3] == 1 else pixels  # Pillow's grey has no channel axis

    def place(index: int) -> None:
        result[index] = as_array(square(Image.fromarray(sources[index]), size), channels)

    in_threads(place, len(pixels))
    return result


def as_array(image: Image.Image, channels: int) -> NDArray[np.uint8]:
    """An image of mode L or RGB as (H, W, channels)."""
    array = np.asarray(image.convert("L" if channels == 1 else "RGB"))
    return array.reshape(image.height, image.width, channels)


def in_threads(work: Callable[[int], None], count: int, report: Callable[[int], None] | None = None) -> None:
    """`work(i)` for i in 0..count-1; the smallest i that fails decides the exception.

    Pillow decodes and resizes without the interpreter lock, so threads do run side by side. `report` is told, on
    the calling thread, how many are done.
    """

    def several(first: int) -> None:
        for index in range(first, min(first + _PER_TASK, count)):
            work(index)

    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        for number, _ in enumerate(pool.map(several, range(0, count, _PER_TASK)), start=1):
            if report is not None:
                report(min(number * _PER_TASK, count))


def _orientation(image: Image.Image) -> int:
    """By EXIF; 1, which is upright, where there is none or it can't be read.

    Not ImageOps.exif_transpose, which also writes the other metadata anew, and fails on damaged ones.
    """
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except _DAMAGED_EXIF:
        return 1


def _from_16_bit(image: Image.Image) -> Image.Image:
    values = np.asarray(image).astype(np.int64)
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > 65535:
        raise ValueError(f"holds grey values {low}..{high}; save it with 8 bits, or 16 bits (0..65535)")
    clear = image.info.get("transparency")
    if isinstance(clear, int):
        values[values == clear] = 65535
    return Image.fromarray(((values * 255 + 32767) // 65535).astype(np.uint8))
