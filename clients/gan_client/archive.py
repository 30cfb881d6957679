"""The `zip` answer of `POST /generate`, read without trusting whoever sent it.

Members are read into memory by the names that `images.json` gives; nothing is extracted to a path.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from typing import Final, NamedTuple

from pydantic import ValidationError

from ._constants import MAX_IMAGE_PIXELS, MAX_INDEX_BYTES, MAX_RESPONSE_BYTES
from .errors import fault, one_line
from .types import GenerateResponse

INDEX_NAME: Final = "images.json"
_PNG_START: Final = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"
_COLOUR_TYPES: Final = (0, 2)  # PNG specification, 11.2.2: greyscale, truecolour

# What zipfile raises for damaged or hostile archives: structure, CRC, compression, encryption, offsets.
_DAMAGE: Final = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    NotImplementedError,
    OSError,
    OverflowError,
    RuntimeError,
    ValueError,
    struct.error,
)


class MalformedAnswerError(Exception):
    """The answer does not follow the contract; the message completes 'the answer is ...'."""


class _Header(NamedTuple):
    width: int
    height: int
    bit_depth: int
    colour_type: int


def read_archive(content: bytes) -> tuple[GenerateResponse, list[bytes]]:
    """`images.json` and the PNG of each of its images, in its order.

    Raises MalformedAnswerError unless each is an 8-bit grey or RGB PNG, and all have one size and mode.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            index = _read_index(archive)
            room = MAX_RESPONSE_BYTES
            pngs: list[bytes] = []
            for image in index.images:
                if image.file is None:
                    raise MalformedAnswerError(f"an archive whose {INDEX_NAME} has an image without `file`")
                pngs.append(_read_member(archive, image.file, room))
                room -= len(pngs[-1])
    except _DAMAGE as error:
        raise MalformedAnswerError(f"a broken zip archive ({error})") from error
    headers = {_header(png) for png in pngs}
    if len(headers) > 1:
        raise MalformedAnswerError("an archive with images of several sizes or modes")
    return index, pngs


def _read_index(archive: zipfile.ZipFile) -> GenerateResponse:
    content = _read_member(archive, INDEX_NAME, MAX_INDEX_BYTES)
    try:
        return GenerateResponse.model_validate_json(content)
    except ValidationError as error:
        raise MalformedAnswerError(f"an archive with a wrong {INDEX_NAME} ({fault(error)})") from error


def _read_member(archive: zipfile.ZipFile, name: str, longest: int) -> bytes:
    try:
        info = archive.getinfo(name)
    except KeyError as error:
        raise MalformedAnswerError(f"an archive without {one_line(name, 80)!r}") from error
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise MalformedAnswerError(f"an archive that is compressed in another way ({info.compress_type}) than expected")
    with archive.open(info) as member:
        # The declared size may be a lie, so what is inflated is bounded, not what is declared.
        content = member.read(longest + 1)
    if len(content) > longest:
        raise MalformedAnswerError(f"an archive whose {one_line(name, 80)!r} inflates to over {longest} bytes")
    return content


def _header(png: bytes) -> _Header:
    start = len(_PNG_START)
    if not png.startswith(_PNG_START) or len(png) < start + 10:
        raise MalformedAnswerError("an archive with a file that is not a PNG")
    header = _Header(*struct.unpack_from(">IIBB", png, start))
    if header.bit_depth != 8 or header.colour_type not in _COLOUR_TYPES:
        raise MalformedAnswerError("an archive with a PNG that is not 8-bit grey or RGB")
    if not 0 < header.width * header.height <= MAX_IMAGE_PIXELS:
        raise MalformedAnswerError(f"an archive with a PNG of {header.width} x {header.height} pixels")
    return header
