"""uint8 arrays -> JSON, PNG, WebP, JPEG, NPY, ZIP, contact sheet. The same images give the same bytes."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gan_client.types import Format
from gan_export.artifact.sheet import sheet_pixels, to_picture

from .batch import Batch
from .png import png_file
from .stream_formats import STREAM_FORMATS

_JPEG_QUALITY: Final = 90
SLOW_BYTES: Final = 2**24
"""Of images, from which on a contact sheet is not encoded among what takes a moment: one of 16 MiB took 0.7 s as webp,
0.15 s as png."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """A response body and its media type."""

    body: bytes
    media_type: str


def encode(batch: Batch, wanted: Format) -> Encoded:
    """A batch in one of the formats of the contract; as a picture, several images become a contact sheet."""
    stream = STREAM_FORMATS.get(wanted)
    if stream is not None:
        return Encoded(stream(batch.model).whole(batch), stream.media_type)
    image = batch.images[0] if len(batch) == 1 else sheet_pixels(batch.images, batch.columns)
    return Encoded(_encode_picture(image, wanted, batch.quality), f"image/{wanted}")


def _encode_picture(image: NDArray[np.uint8], wanted: str, quality: int | None) -> bytes:
    """(C, H, W) as a png, webp or jpeg file."""
    if wanted == "png":
        return png_file(image)
    buffer = io.BytesIO()
    to_picture(image).save(buffer, format=wanted.upper(), **(_jpeg if wanted == "jpeg" else webp_options)(quality))
    return buffer.getvalue()


def webp_options(quality: int | None) -> dict[str, Any]:
    """How Pillow is to write WebP: lossless without a quality."""
    if quality is None:
        # Half the time of Pillow's own defaults; the files were no larger.
        return {"lossless": True, "method": 1, "quality": 0}
    return {"lossless": False, "method": 2, "quality": quality}


def _jpeg(quality: int | None) -> dict[str, Any]:
    # Colours at full resolution: small pictures have no pixels to spare.
    return {"quality": quality or _JPEG_QUALITY, "subsampling": 0}
