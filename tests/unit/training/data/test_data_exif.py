"""Pictures whose EXIF is damaged: the pixels are read all the same, and upright where that is known."""

import io
import random
import warnings

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageOps

from gan_training.data import DataError, load_data
from gan_training.data.pixels import flatten

WIDE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 20, 3)).astype(np.uint8))


def exif(orientation: int) -> bytes:
    tags = Image.Exif()
    tags[ExifTags.Base.Orientation] = orientation
    tags[ExifTags.Base.ImageDescription] = "a picture"
    tags[ExifTags.Base.XResolution] = 1.5
    return tags.tobytes()


def encoded(kind: str, metadata: bytes) -> Image.Image:
    buffer = io.BytesIO()
    WIDE.save(buffer, kind, exif=metadata, lossless=True)
    return Image.open(buffer)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "JPEG"])
@pytest.mark.parametrize("orientation", range(10))
def test_whole_metadata_turn_a_picture_as_pillow_does(kind: str, orientation: int):
    wanted = ImageOps.exif_transpose(encoded(kind, exif(orientation)))
    assert np.array_equal(np.asarray(flatten(encoded(kind, exif(orientation)))), np.asarray(wanted))


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "JPEG"])
def test_damaged_metadata_stop_no_picture(kind: str):
    rng, turned = random.Random(0), 0
    sides = {np.asarray(WIDE).shape, np.asarray(WIDE.transpose(Image.Transpose.ROTATE_270)).shape}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # as the reader of folders does
        for _ in range(300):
            damaged = bytearray(exif(6))
            for _ in range(rng.randint(1, 6)):
                damaged[rng.randrange(len(damaged))] = rng.randrange(256)
            found = np.asarray(flatten(encoded(kind, bytes(damaged[: rng.choice([None, 9, 20, 40])]))))
            assert found.shape in sides
            turned += found.shape[0] > found.shape[1]
    assert turned > 20  # of those whose orientation can still be read


def test_a_folder_with_such_a_picture_is_read_and_a_cut_one_still_named(tmp_path):
    WIDE.save(tmp_path / "a.png", exif=b"Exif\x00\x00damaged")
    WIDE.save(tmp_path / "b.png")
    assert len(load_data(f"folder:{tmp_path}", 16)) == 2
    content = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"a.png: can't be read as an image"):
        load_data(f"folder:{tmp_path}", 16)
