"""Contact sheets: many images as one picture."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

MARGIN: Final = 2  # pixels between images, and around them


def to_picture(image: NDArray[np.uint8]) -> Image.Image:
    """(C, H, W) uint8 with C of 1 or 3 -> a grey or RGB picture."""
    return lines_picture(image.transpose(1, 2, 0))


def lines_picture(lines: NDArray[np.uint8]) -> Image.Image:
    """(H, W, C) uint8 with C of 1 or 3 -> a grey or RGB picture."""
    pixels: NDArray[Any] = lines[..., 0] if lines.shape[2] == 1 else lines
    return Image.fromarray(np.ascontiguousarray(pixels))


def sheet_size(n: int, height: int, width: int, columns: int | None = None) -> tuple[int, int]:
    """Height and width in pixels of the contact sheet of n images."""
    down, across = _grid(n, columns)
    return down * (height + MARGIN) + MARGIN, across * (width + MARGIN) + MARGIN


class SheetLines:
    """A contact sheet from top to bottom, as its images come: white ground, row by row, near-square without `columns`.

    Args:
        n: images of the whole sheet.
        shape: (C, H, W) of each.
        columns: images in a row.
    """

    def __init__(self, n: int, shape: tuple[int, int, int], columns: int | None = None) -> None:
        self._shape = shape
        self.size = sheet_size(n, *shape[1:], columns)  # height and width in pixels
        self.first_row = shape[1] + 2 * MARGIN  # lines down to where the second row of images begins
        self._across = _grid(n, columns)[1]
        self._left = n  # images that are still to come
        self._waiting: list[NDArray[np.uint8]] = []  # images of a row that isn't full
        self._margin = MARGIN  # lines above the next row

    def add(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """(k, C, H, W), the next images -> (lines, W', C), the lines that are complete with them; there may be none."""
        self._left -= len(images)
        if self._waiting:
            images = np.concatenate([*self._waiting, images])
        rest = len(images) % self._across if self._left else 0
        ready = len(images) - rest
        self._waiting = [images[ready:]] if rest else []
        return self._laid_out(images[:ready])

    def _laid_out(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        channels, height, width = self._shape
        across, margin = self._across, self._margin if len(images) else 0
        self._margin -= margin
        full, rest = divmod(len(images), across)
        down = full + bool(rest)
        lines = np.full((margin + down * (height + MARGIN), self.size[1], channels), 255, np.uint8)
        cells = lines[margin:, MARGIN:].reshape(down, height + MARGIN, across, width + MARGIN, channels)
        cells = cells[:, :height, :, :width]  # a view of the lines: (down, H, across, W, C)
        rows = images[: full * across].reshape(full, across, channels, height, width)
        cells[:full] = rows.transpose(0, 3, 1, 4, 2)
        if rest:
            cells[full, :, :rest] = images[full * across :].transpose(2, 0, 3, 1)
        return lines


def contact_sheet(images: NDArray[np.uint8], columns: int | None = None) -> Image.Image:
    """(N, C, H, W) uint8 -> one picture on a white ground, row by row; near-square without `columns`."""
    n, channels, height, width = images.shape
    return lines_picture(SheetLines(n, (channels, height, width), columns).add(images))


def _grid(n: int, columns: int | None) -> tuple[int, int]:
    """Rows and columns."""
    across = min(columns or math.ceil(math.sqrt(n)), n)
    return math.ceil(n / across), across
