"""Pictures that are made here: contact sheets as files, and images enlarged."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from .errors import InvalidArgumentError
from .files import format_named
from .images import Generation, Image

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage

PICTURES: Final = ("png", "webp", "jpeg")
"""The formats of a sheet."""

_JPEG_QUALITY: Final = 90  # as the service has it
_MOST_PIXELS: Final = 2**28  # of a picture that is enlarged


def sheet_format(path: Path) -> str:
    """What the suffix of a contact sheet's file names. Raises InvalidArgumentError."""
    kind = format_named(path)
    if kind not in PICTURES:
        raise InvalidArgumentError(f"grid is {str(path)!r}: its name must end in .png, .webp or .jpg", param="grid")
    return kind


def sheet_of(generation: Generation, columns: int | None, kind: str, quality: int | None, scale: int) -> bytes:
    """The contact sheet as a file of a `kind` of `PICTURES`, each pixel `scale` pixels wide and high.

    Raises InvalidArgumentError if the sheet is too large.
    """
    options: dict[str, Any] = {}
    if kind == "jpeg":
        options = {"quality": quality or _JPEG_QUALITY}
    elif kind == "webp":
        options = {"lossless": True} if quality is None else {"quality": quality}
    sheet = _enlarged(generation.grid(columns), scale)
    buffer = io.BytesIO()
    try:
        sheet.save(buffer, format=kind.upper(), **options)
    except (OSError, ValueError) as error:  # WebP ends at 16,383 pixels in a row, JPEG at 65,535
        raise InvalidArgumentError(
            f"the sheet has {sheet.width} x {sheet.height} pixels, too many for {kind} ({error}): use png, or draw "
            "fewer images",
            param="format",
        ) from error
    return buffer.getvalue()


def png_of(image: Image, scale: int) -> bytes:
    """The image as PNG, each pixel `scale` pixels wide and high; with 1 the image's own bytes.

    Raises InvalidArgumentError if that is too large, UnexpectedResponseError if the image is damaged.
    """
    if scale == 1:
        return image.png
    buffer = io.BytesIO()
    _enlarged(image.pil(), scale).save(buffer, format="PNG")
    return buffer.getvalue()


def _enlarged(picture: PILImage, scale: int) -> PILImage:
    """Nearest neighbour: no pixel is mixed with another."""
    from PIL import Image as PILImageModule

    width, height = picture.width * scale, picture.height * scale
    if scale > 1 and width * height > _MOST_PIXELS:
        raise InvalidArgumentError(
            f"scale is {scale}: a picture of {width} x {height} pixels is too large, use a smaller scale or draw fewer "
            "images",
            param="scale",
        )
    return picture if scale == 1 else picture.resize((width, height), PILImageModule.Resampling.NEAREST)
