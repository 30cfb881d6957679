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


def contact_sheet(images: NDArray[np.uint8], columns: int | None = None) -> Image.Image:
    """(N, C, H, W) uint8 -> one picture on a white ground, row by row; near-square without `columns`."""
    n, channels, height, width = images.shape
    columns = min(columns or math.ceil(math.sqrt(n)), n)
    rows = math.ceil(n / columns)
    sheet = np.full((channels, rows * (height + MARGIN) + MARGIN, columns * (width + MARGIN) + MARGIN), 255, np.uint8)
    for i, image in enumerate(images):
        top = MARGIN + (i // columns) * (height + MARGIN)
        left = MARGIN + (i % columns) * (width + MARGIN)
        sheet[:, top : top + height, left : left + width] = image
    return to_picture(sheet)
