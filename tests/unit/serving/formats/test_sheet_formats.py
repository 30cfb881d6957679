"""Contact sheets that are laid out as their images come: the same bytes in any parts, and the memory of a part."""

import io
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from gan_export.artifact.sheet import contact_sheet
from gan_serving.formats.batch import Batch
from gan_serving.formats.encode import encode
from gan_serving.formats.sheet_formats import SHEET_FORMATS

N = 23
PARTS = 64  # of a large sheet

every_sheet = pytest.mark.parametrize("wanted", SHEET_FORMATS)


def make_batch(images: np.ndarray, columns: int | None = None) -> Batch:
    return Batch("toy", images, None, None, None, columns)


def noise(n: int, channels: int, size: int = 12) -> np.ndarray:
    return np.random.default_rng(n).integers(0, 256, (n, channels, size, size - 3), np.uint8)


def in_parts(images: np.ndarray, size: int, wanted: str, columns: int | None = None) -> bytes:
    sheet = SHEET_FORMATS[wanted]("toy")
    assert sheet.begin(len(images)) == b""
    for start in range(0, len(images), size):
        assert sheet.feed(make_batch(images[start : start + size], columns)) == b""
    return sheet.end()


@every_sheet
@pytest.mark.parametrize("columns", [None, 1, 4, 22, 1000])
@pytest.mark.parametrize("channels", [1, 3])
def test_parts_of_any_size_give_the_same_bytes(wanted, columns: int | None, channels: int):
    images = noise(N, channels)
    whole = encode(make_batch(images, columns), wanted)
    for size in (1, 3, 8, 22, N):
        assert in_parts(images, size, wanted, columns) == whole.body
    assert whole.media_type == f"image/{wanted}"


@pytest.mark.parametrize("columns", [None, 3, 23])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("order", [1, -1])
def test_a_sheet_of_flat_and_of_noisy_rows_is_exact(columns: int | None, channels: int, order: int):
    """How its lines are filtered is decided by the first ones."""
    images = np.concatenate([np.zeros((9, channels, 12, 9), np.uint8), noise(N - 9, channels)])[::order]
    with Image.open(io.BytesIO(in_parts(images, 4, "png", columns))) as picture:
        picture.verify()  # the checksums
    with Image.open(io.BytesIO(in_parts(images, 4, "png", columns))) as picture:
        assert np.array_equal(np.asarray(picture), np.asarray(contact_sheet(images, columns)))


def test_a_large_png_sheet_takes_the_memory_of_a_part():
    part = make_batch(np.full((16, 3, 64, 64), 77, np.uint8), columns=16)
    sheet = SHEET_FORMATS["png"]("toy")
    sheet.begin(PARTS * len(part))
    tracemalloc.start()
    try:
        for _ in range(PARTS):
            sheet.feed(part)
        size = len(sheet.end())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 * part.images.nbytes + 2 * size < PARTS * part.images.nbytes / 4
