"""Pictures as sixels, the graphics of the DEC VT340 that xterm, foot, mlterm, tmux and others understand.

Source: "VT330/VT340 Programmer Reference Manual", volume 2, chapter 14 (Digital Equipment Corporation, 1988).
"""

from __future__ import annotations

import io
import itertools
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image as PILImage

_BAND: Final = 6  # rows that one character of a column carries
_COLOURS: Final = 255  # terminals have 256 colour registers
_SHORTEST_RUN: Final = 4  # `!4x` is shorter than `xxxxx` only from here on
_PERCENT: Final = 100  # a register's red, green and blue are percentages


def encode(image: PILImage) -> str:
    """`image` (mode `L` or `RGB`) as a sixel sequence that draws it from the cursor on, a pixel for each pixel."""
    import numpy as np

    indices, palette = _indexed(image)  # (H, W) uint8, and a percentage triple for each index in use
    height, width = indices.shape
    out = io.StringIO()
    # P2 = 1: pixels that nobody draws keep the background. Raster attributes: square pixels, width, height.
    out.write(f'\x1bP0;1;0q"1;1;{width};{height}')
    for index, (red, green, blue) in palette.items():
        out.write(f"#{index};2;{red};{green};{blue}")
    weights = (1 << np.arange(_BAND, dtype=np.uint8))[:, None]  # the top row is the lowest bit
    for top in range(0, height, _BAND):
        band = indices[top : top + _BAND]  # (up to 6, W)
        for index in np.unique(band):
            bits = ((band == index) * weights[: len(band)]).sum(axis=0, dtype=np.uint8)  # (W,)
            out.write(f"#{index}{_runs(bits)}$")
        out.write("-")
    out.write("\x1b\\")
    return out.getvalue()


def _indexed(image: PILImage) -> tuple[NDArray[np.uint8], dict[int, tuple[int, int, int]]]:
    import numpy as np

    if image.mode == "L":
        # Registers hold percentages, so 101 greys are all there are, and a grey's register is its percentage.
        grey = np.asarray(image, dtype=np.uint16)
        indices = ((grey * _PERCENT + 127) // 255).astype(np.uint8)
        return indices, {int(index): (int(index),) * 3 for index in np.unique(indices)}
    quantised = image.convert("RGB").quantize(_COLOURS)
    indices = np.asarray(quantised, dtype=np.uint8)
    levels = quantised.getpalette() or []
    palette = {
        int(index): (_percent(levels[3 * index]), _percent(levels[3 * index + 1]), _percent(levels[3 * index + 2]))
        for index in np.unique(indices).tolist()
    }
    return indices, palette


def _percent(level: int) -> int:
    return (level * _PERCENT + 127) // 255


def _runs(bits: NDArray[np.uint8]) -> str:
    """Characters of one colour in one band, runs shortened; nothing is sent for the empty end of the line."""
    pieces = []
    for value, group in itertools.groupby(bits.tobytes().rstrip(b"\0")):
        count, char = sum(1 for _ in group), chr(63 + value)
        pieces.append(f"!{count}{char}" if count >= _SHORTEST_RUN else char * count)
    return "".join(pieces)
