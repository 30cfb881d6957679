"""uint8 arrays -> JSON, PNG, WebP, JPEG, NPY, ZIP, contact sheet. The same images give the same bytes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gan_client.types import Format
from gan_export.artifact.sheet import to_picture

from .batch import Batch
from .body_format import BodyFormat
from .picture import save_picture
from .png import png_file
from .sheet_formats import SHEET_FORMATS
from .stream_formats import STREAM_FORMATS

BODY_FORMATS: Final[dict[Format, type[BodyFormat]]] = {**STREAM_FORMATS, **SHEET_FORMATS}


@dataclass(frozen=True, slots=True)
class Encoded:
    """A response body and its media type."""

    body: bytes
    media_type: str


def encode(batch: Batch, wanted: Format) -> Encoded:
    """A batch in one of the formats of the contract; as a picture, several images become a contact sheet."""
    made = BODY_FORMATS[wanted]
    if wanted in SHEET_FORMATS and len(batch) == 1:
        return Encoded(_one_picture(batch, wanted), made.media_type)
    return Encoded(made(batch.model).whole(batch), made.media_type)


def _one_picture(batch: Batch, wanted: Format) -> bytes:
    if wanted == "png":
        return png_file(batch.images[0])
    return save_picture(to_picture(batch.images[0]), wanted, batch.quality)
