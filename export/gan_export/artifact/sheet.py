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
    pixels: NDArray[Any] = image[0] if image.shape[0] == 1 else image.transpose(1, 2, 0)
    return Image.fromarray(np.ascontiguousarray(pixels))


def sheet_size(n: int, height: int, width: int, columns: int | None = None) -> tuple[int, int]:
    """Height and width in pixels of the contact sheet of n images."""
    down, across = _grid(n, columns)
    return down * (height + MARGIN) + MARGIN, across * (width + MARGIN) + MARGIN


def sheet_pixels(images: NDArray[np.uint8], columns: int | None = None) -> NDArray[np.uint8]:
    """(N, C, H, W) uint8 -> (C, H', W') on a white ground, row by row; near-square without `columns`."""
    n, channels, height, width = images.shape
    down, across = _grid(n, columns)
    sheet = np.full((channels, *sheet_size(n, height, width, columns)), 255, np.uint8)
    cells = sheet[:, MARGIN:, MARGIN:].reshape(channels, down, height + MARGIN, across, width + MARGIN)
    cells = cells[:, :, :height, :, :width]  # a view of the sheet: (C, down, H, across, W)
    full, rest = divmod(n, across)
    grid = images[: full * across].reshape(full, across, channels, height, width)
    cells[:, :full] = grid.transpose(2, 0, 3, 1, 4)
    if rest:
        cells[:, full, :, :rest] = images[full * across :].transpose(1, 2, 0, 3)
    return sheet


def contact_sheet(images: NDArray[np.uint8], columns: int | None = None) -> Image.Image:
    """(N, C, H, W) uint8 -> one picture on a white ground, row by row; near-square without `columns`."""
    return to_picture(sheet_pixels(images, columns))


def _grid(n: int, columns: int | None) -> tuple[int, int]:
    """Rows and columns."""
    across = min(columns or math.ceil(math.sqrt(n)), n)
    return math.ceil(n / across), across
