"""Pictures as half blocks: two pixels in each character, in any terminal that has colours and Unicode."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage

Colour = tuple[int, int, int]

_UPPER_HALF: Final = "\N{UPPER HALF BLOCK}"
_CUBE: Final = (0, 95, 135, 175, 215, 255)  # xterm's colours 16 to 231 are a cube of these levels


def encode(image: PILImage, *, truecolour: bool) -> str:
    """`image` as lines of half blocks, one column for each pixel, one line for two rows; colours are reset.

    With `truecolour` the colours are exact, else the nearest of xterm's 256.
    """
    rgb = image.convert("RGB")
    width, height = rgb.size
    content = rgb.tobytes()
    pixels: list[Colour] = [(content[i], content[i + 1], content[i + 2]) for i in range(0, len(content), 3)]
    name = _exact if truecolour else _nearest
    lines = []
    for y in range(0, height, 2):
        upper, lower = pixels[y * width : (y + 1) * width], pixels[(y + 1) * width : (y + 2) * width]
        pieces, before = [], ("", "")
        for x in range(width):
            # Below an odd last row is the terminal's own background.
            colours = (f"38;{name(upper[x])}", f"48;{name(lower[x])}" if lower else "49")
            changed = [now for now, last in zip(colours, before, strict=True) if now != last]
            pieces.append(f"\x1b[{';'.join(changed)}m{_UPPER_HALF}" if changed else _UPPER_HALF)
            before = colours
        lines.append("".join(pieces) + "\x1b[0m\n")
    return "".join(lines)


def _exact(colour: Colour) -> str:
    red, green, blue = colour
    return f"2;{red};{green};{blue}"


@lru_cache(maxsize=4096)
def _nearest(colour: Colour) -> str:
    """The nearest of xterm's colour cube and of its 24 greys (8, 18, ..., 238)."""
    cube = [_nearest_level(level) for level in colour]
    grey = min(23, max(0, round((sum(colour) / 3 - 8) / 10)))
    candidates = {
        16 + 36 * cube[0] + 6 * cube[1] + cube[2]: (_CUBE[cube[0]], _CUBE[cube[1]], _CUBE[cube[2]]),
        232 + grey: (8 + 10 * grey,) * 3,
    }
    index = min(candidates, key=lambda i: sum((a - b) ** 2 for a, b in zip(candidates[i], colour, strict=True)))
    return f"5;{index}"


def _nearest_level(level: int) -> int:
    """Index of the nearest of the cube's levels."""
    return min(range(len(_CUBE)), key=lambda i: abs(_CUBE[i] - level))
