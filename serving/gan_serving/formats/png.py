"""Small grey and RGB images as PNG files, put together here (PNG specification, third edition: chunks 5.3, filters 9).

Pillow takes 75 us for a 28x28 image, most of it not for the compression; this takes 20 to 35.
"""

from __future__ import annotations

import struct
import zlib
from functools import lru_cache, reduce
from typing import Final

import numpy as np
from numpy.typing import NDArray

PNG_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_COLOUR_TYPES: Final = {1: 0, 3: 2}  # channels -> greyscale, truecolour
_UP: Final = 2  # the filter that keeps each byte's difference from the one above
_LEVEL: Final = 6
_REPEATS: Final = 4  # a fourth of the bytes repeat their left neighbour: runs are what compresses such an image


def png_files(images: NDArray[np.uint8]) -> list[bytes]:
    """(N, C, H, W) uint8 with C of 1 or 3 -> a PNG file each; an image has the same file alone and among others."""
    n, channels, height, width = images.shape
    pixels = images.transpose(0, 2, 3, 1).reshape(n, height, width * channels)
    lines = np.zeros((n, height, 1 + width * channels), np.uint8)  # each row with its filter in front
    lines[:, :, 1:] = pixels
    head = _head(channels, height, width)
    return [head + _data(line, rows) + _END for line, rows in zip(lines, pixels, strict=True)]


def png_file(image: NDArray[np.uint8]) -> bytes:
    """(C, H, W) uint8 with C of 1 or 3 -> a PNG file."""
    return png_files(image[None])[0]


class PngLines:
    """A PNG file from its lines, some at a time; how they are cut makes no difference to its bytes.

    Args:
        channels: 1 or 3.
        height: lines of the whole file.
        width: pixels of a line.
        decisive: the first lines, which come at once, by which all are filtered or not.
    """

    def __init__(self, channels: int, height: int, width: int, decisive: int) -> None:
        self._head = _head(channels, height, width)
        self._decisive = decisive
        self._above: NDArray[np.uint8] | None = None  # the last line so far, where lines are kept as differences
        self._compressor = _compressor()
        self._data: list[bytes] = []
        self.size = 0  # bytes of what is compressed

    def add(self, lines: NDArray[np.uint8]) -> None:
        """(k, W, C), the next lines, at least one."""
        pixels = lines.reshape(len(lines), -1)
        if self._decisive:
            if _differences_pay(pixels[: self._decisive]):
                self._above = np.zeros(pixels.shape[1], np.uint8)
            self._decisive = 0
        filtered = np.zeros((len(pixels), 1 + pixels.shape[1]), np.uint8)
        if self._above is None:
            filtered[:, 1:] = pixels
        else:
            filtered[:, 0] = _UP
            np.subtract(pixels[0], self._above, out=filtered[0, 1:])
            np.subtract(pixels[1:], pixels[:-1], out=filtered[1:, 1:])
            self._above = pixels[-1].copy()
        self._data.append(self._compressor.compress(filtered.data))
        self.size += len(self._data[-1])

    def end(self) -> bytes:
        """The file, once all lines were added."""
        self._data.append(self._compressor.flush())
        return b"".join((self._head, *_chunk(b"IDAT", *self._data), _END))


def _data(lines: NDArray[np.uint8], pixels: NDArray[np.uint8]) -> bytes:
    """IDAT of one image; `lines` come unfiltered and are filtered in place if that makes them compress better."""
    if _differences_pay(pixels):
        lines[:, 0] = _UP
        np.subtract(pixels[1:], pixels[:-1], out=lines[1:, 1:])  # modulo 256, as the filter wants
    compressor = _compressor()
    return b"".join(_chunk(b"IDAT", compressor.compress(lines.data) + compressor.flush()))


def _differences_pay(pixels: NDArray[np.uint8]) -> bool:
    """Whether lines (k, W * C) compress better as their differences."""
    return bool(np.count_nonzero(pixels[:, 1:] == pixels[:, :-1]) * _REPEATS < pixels.size)


def _compressor() -> zlib._Compress:
    # Runs and Huffman codes alone measured faster than the search for matches, and no larger on such images.
    return zlib.compressobj(_LEVEL, zlib.DEFLATED, zlib.MAX_WBITS, zlib.DEF_MEM_LEVEL, zlib.Z_RLE)


def _chunk(kind: bytes, *content: bytes) -> tuple[bytes, ...]:
    """A chunk in pieces, so that a long one is copied once."""
    checksum = reduce(lambda sofar, piece: zlib.crc32(piece, sofar), content, zlib.crc32(kind))
    return struct.pack(">I", sum(map(len, content))), kind, *content, struct.pack(">I", checksum)


@lru_cache(maxsize=64)
def _head(channels: int, height: int, width: int) -> bytes:
    """The signature, and IHDR of 8 bits a channel without interlacing."""
    fields = struct.pack(">IIBBBBB", width, height, 8, _COLOUR_TYPES[channels], 0, 0, 0)
    return PNG_SIGNATURE + b"".join(_chunk(b"IHDR", fields))


_END: Final = b"".join(_chunk(b"IEND", b""))
