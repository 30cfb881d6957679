"""Pictures -> WebP and JPEG files, by Pillow."""

from __future__ import annotations

import io
from typing import Any, Final

from PIL import Image

_JPEG_QUALITY: Final = 90


def save_picture(picture: Image.Image, kind: str, quality: int | None) -> bytes:
    """A picture as a file.

    Args:
        picture: grey or RGB.
        kind: webp or jpeg.
        quality: 1 to 100; without one webp is lossless, and jpeg has 90.
    """
    buffer = io.BytesIO()
    picture.save(buffer, format=kind.upper(), **(webp_options if kind == "webp" else _jpeg_options)(quality))
    return buffer.getvalue()


def webp_options(quality: int | None) -> dict[str, Any]:
    """How Pillow is to write WebP: lossless without a quality."""
    if quality is None:
        # Half the time of Pillow's own defaults; the files were no larger.
        return {"lossless": True, "method": 1, "quality": 0}
    return {"lossless": False, "method": 2, "quality": quality}


def _jpeg_options(quality: int | None) -> dict[str, Any]:
    # Colours at full resolution: small pictures have no pixels to spare.
    return {"quality": quality or _JPEG_QUALITY, "subsampling": 0}
