"""`plain_pixels` gives what Pillow gives, or nothing."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from gan_client import Image as Generated
from gan_client.pixels import plain_pixels


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(pixels, filters, *, depth=8, interlace=0):
    """A PNG file with a given filter, 0 or 2, for each row."""
    height, width, channels = pixels.shape
    flat = pixels.reshape(height, -1)
    above = np.vstack([np.zeros_like(flat[:1]), flat[:-1]])
    rows = [
        bytes([kind]) + (line - up if kind == 2 else line).tobytes()
        for kind, line, up in zip(filters, flat, above, strict=True)
    ]
    head = struct.pack(">IIBBBBB", width, height, depth, {1: 0, 3: 2}[channels], 0, 0, interlace)
    data = zlib.compress(b"".join(rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", [0, 2])
def test_both_filters_of_the_service(channels, kind):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, channels), np.uint8)
    file = png(pixels, [kind] * 5)
    found = plain_pixels(file)
    assert np.array_equal(found, pixels)
    assert found.dtype == np.uint8
    assert found.flags.writeable
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(file))).reshape(pixels.shape), found)


def test_what_is_otherwise_is_left_to_pillow():
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 1), np.uint8)
    mixed = png(pixels, [0, 2, 0, 2, 2])
    assert plain_pixels(mixed) is None
    assert np.array_equal(Generated(mixed, 1, None).numpy(), pixels)
    buffer = io.BytesIO()
    Image.fromarray(pixels[:, :, 0]).save(buffer, "PNG", dpi=(72, 72))  # with one more chunk
    assert plain_pixels(buffer.getvalue()) is None
    assert np.array_equal(Generated(buffer.getvalue(), 1, None).numpy(), pixels)
    assert plain_pixels(png(pixels, [0] * 5, depth=16)) is None
    assert plain_pixels(png(pixels, [0] * 5, interlace=1)) is None


def test_damage_anywhere_makes_no_pixels():
    pixels = np.random.default_rng(0).integers(0, 256, (3, 4, 1), np.uint8)
    file = png(pixels, [2] * 3)
    assert all(plain_pixels(file[:end]) is None for end in range(len(file)))
    for at in range(33, len(file) - 12):  # IDAT; of the rest nothing but the size and the kind is used
        changed = file[:at] + bytes([file[at] ^ 0x55]) + file[at + 1 :]
        assert plain_pixels(changed) is None, at
    huge = file[:16] + struct.pack(">II", 2**31 - 1, 2**31 - 1) + file[24:]
    assert plain_pixels(huge) is None
