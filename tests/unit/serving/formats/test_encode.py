"""Images -> response bodies: every format gives the images back, and the same images give the same bytes."""

import base64
import io
import json
import zipfile
from typing import get_args

import numpy as np
import pytest
from PIL import Image

from gan_client.types import Format, GenerateResponse
from gan_export.artifact.sheet import to_picture
from gan_serving.formats.batch import Batch
from gan_serving.formats.encode import encode
from gan_serving.formats.png import png_files

MEDIA_TYPES = {
    "json": "application/json",
    "png": "image/png",
    "webp": "image/webp",
    "jpeg": "image/jpeg",
    "npy": "application/x-npy",
    "zip": "application/zip",
    "ndjson": "application/x-ndjson",
}
FORMATS = get_args(Format)
MARGIN = 2  # pixels
LARGEST_PNG = 1.15  # of Pillow's size
JPEG_ERROR = 3.0  # mean absolute error that quality 90 leaves of a smooth picture


def make_batch(
    n: int, channels: int = 1, *, labels: bool = True, seeds: bool = True, columns: int | None = None
) -> Batch:
    images = np.random.default_rng(n * 10 + channels).integers(0, 256, (n, channels, 6, 4)).astype(np.uint8)
    return Batch(
        model="toy",
        images=images,
        seeds=[2**53 - 1 - i for i in range(n)] if seeds else None,
        labels=[i % 3 for i in range(n)] if labels else None,
        class_names=["cat", "Ünï", "7"] if labels else None,
        columns=columns,
    )


def pixels(png: bytes) -> np.ndarray:
    """(C, H, W) of a PNG file."""
    with Image.open(io.BytesIO(png)) as picture:
        assert picture.format == "PNG"
        array = np.asarray(picture)
    return array[None] if array.ndim == 2 else array.transpose(2, 0, 1)


BATCHES = [
    make_batch(1),
    make_batch(1, 3, labels=False),
    make_batch(64),
    make_batch(64, 3),
    make_batch(11, 3, labels=False, seeds=False),
    make_batch(10),
]
every_batch = pytest.mark.parametrize("batch", BATCHES, ids=lambda b: f"{b.images.shape}")


def test_the_formats_are_those_of_the_contract():
    assert set(FORMATS) == set(MEDIA_TYPES)
    for name, media_type in MEDIA_TYPES.items():
        assert encode(make_batch(2), name).media_type == media_type


@every_batch
def test_json(batch: Batch):
    body = encode(batch, "json").body
    response = GenerateResponse.model_validate_json(body)
    assert response.model == "toy"
    assert np.array_equal([pixels(base64.b64decode(image.png or "")) for image in response.images], batch.images)
    assert [image.seed for image in response.images] == (batch.seeds or [None] * len(batch.images))
    assert [image.label for image in response.images] == (batch.labels or [None] * len(batch.images))
    names = [None if batch.class_names is None else batch.class_names[i % 3] for i in range(len(batch.images))]
    assert [image.label_name for image in response.images] == names
    assert all(set(image) == {"seed", "label", "label_name", "png"} for image in json.loads(body)["images"])


@every_batch
def test_npy(batch: Batch):
    array = np.load(io.BytesIO(encode(batch, "npy").body), allow_pickle=False)
    assert array.dtype == np.uint8
    assert array.flags.c_contiguous
    assert np.array_equal(array, batch.images.transpose(0, 2, 3, 1))


@every_batch
def test_zip(batch: Batch):
    n = len(batch.images)
    with zipfile.ZipFile(io.BytesIO(encode(batch, "zip").body)) as archive:
        assert archive.testzip() is None
        width = len(str(n - 1))
        names = [f"{i:0{width}d}.png" for i in range(n)]
        assert archive.namelist() == [*names, "images.json"]
        assert names == sorted(names)
        assert {member.date_time for member in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}  # not today's
        index = archive.read("images.json")
        response = GenerateResponse.model_validate_json(index)
        assert [image.file for image in response.images] == names
        assert np.array_equal([pixels(archive.read(name)) for name in names], batch.images)
    assert [image.seed for image in response.images] == (batch.seeds or [None] * n)
    assert [image.label for image in response.images] == (batch.labels or [None] * n)
    assert all(set(image) == {"seed", "label", "label_name", "file"} for image in json.loads(index)["images"])


@pytest.mark.parametrize("channels", [1, 3])
def test_one_image_is_no_sheet(channels: int):
    batch = make_batch(1, channels)
    assert np.array_equal(pixels(encode(batch, "png").body), batch.images[0])


@pytest.mark.parametrize(
    ("n", "columns", "grid"),
    [
        (2, None, (1, 2)),
        (3, None, (2, 2)),
        (4, None, (2, 2)),
        (5, None, (2, 3)),
        (64, None, (8, 8)),
        (65, None, (8, 9)),
        (7, 1, (7, 1)),
        (7, 3, (3, 3)),
        (7, 7, (1, 7)),
        (7, 1000, (1, 7)),
    ],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_the_sheet(n: int, columns: int | None, grid: tuple[int, int], channels: int):
    batch = make_batch(n, channels, columns=columns)
    sheet = pixels(encode(batch, "png").body).copy()
    rows, across = grid
    height, width = batch.images.shape[2:]
    assert sheet.shape == (channels, rows * (height + MARGIN) + MARGIN, across * (width + MARGIN) + MARGIN)
    for i, image in enumerate(batch.images):
        top, left = MARGIN + i // across * (height + MARGIN), MARGIN + i % across * (width + MARGIN)
        place = np.s_[:, top : top + height, left : left + width]
        assert np.array_equal(sheet[place], image)
        sheet[place] = 255
    assert sheet.min() == 255  # white everywhere else, and in the places of a last row that is not full


def smooth(channels: int, size: int = 48, n: int = 1) -> np.ndarray:
    """(n, C, size, size): slopes of different steepness, which compression with losses keeps."""
    across, down = np.meshgrid(np.arange(size), np.arange(size))
    planes = [across * 4 + 20, down * 3 + 60, (across + down) * 2 + 10]
    return np.stack([np.stack(planes[:channels]) % 256 // (i + 1) for i in range(n)]).astype(np.uint8)


def picture_of(body: bytes, kind: str) -> Image.Image:
    with Image.open(io.BytesIO(body), formats=[kind.upper()]) as picture:
        picture.load()
        return picture


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("n", [1, 7])
def test_webp_without_a_quality_is_exact(channels: int, n: int):
    batch = make_batch(n, channels, columns=3)
    picture = picture_of(encode(batch, "webp").body, "webp")
    assert picture.mode == "RGB"  # WebP knows no grey
    expected = pixels(encode(batch, "png").body)
    assert np.array_equal(np.asarray(picture).transpose(2, 0, 1), np.broadcast_to(expected, (3, *expected.shape[1:])))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("n", [1, 4])
def test_jpeg_is_near_and_has_the_right_shape(channels: int, n: int):
    batch = Batch("toy", smooth(channels, n=n), None, None, None, None)
    picture = picture_of(encode(batch, "jpeg").body, "jpeg")
    assert picture.mode == {1: "L", 3: "RGB"}[channels]
    shown = np.asarray(picture, np.float64).reshape(*picture.size[::-1], channels).transpose(2, 0, 1)
    expected = pixels(encode(batch, "png").body)
    assert shown.shape == expected.shape
    assert np.abs(shown - expected).mean() < JPEG_ERROR


@pytest.mark.parametrize("wanted", ["jpeg", "webp"])
@pytest.mark.parametrize("channels", [1, 3])
def test_quality(wanted, channels: int):
    images = smooth(channels, 64)
    sizes, errors = [], []
    for quality in (1, 50, 100):
        batch = Batch("toy", images, None, None, None, None, quality)
        body = encode(batch, wanted).body
        assert body == encode(batch, wanted).body
        shown = np.asarray(picture_of(body, wanted).convert("L" if channels == 1 else "RGB"), np.float64)
        sizes.append(len(body))
        errors.append(np.abs(shown.reshape(64, 64, channels).transpose(2, 0, 1) - images[0]).mean())
    assert sizes == sorted(sizes)
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > errors[2]


def test_jpeg_has_a_quality_of_90_when_none_is_asked():
    default, explicit, other = (
        encode(Batch("toy", smooth(3), None, None, None, None, quality), "jpeg").body for quality in (None, 90, 80)
    )
    assert default == explicit != other


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((2, 1, 28, 28), np.uint8),
        np.full((2, 3, 5, 9), 255, np.uint8),
        np.arange(256, dtype=np.uint8).reshape(1, 1, 1, 256),
        np.arange(256, dtype=np.uint8).reshape(1, 1, 256, 1),
        np.arange(255, dtype=np.uint8).reshape(1, 3, 85, 1),
        np.ones((1, 1, 1, 1), np.uint8),
        np.ones((1, 3, 1, 1), np.uint8),
        smooth(1, 200),
        smooth(3, 128, 3),
        np.random.default_rng(0).integers(0, 256, (3, 3, 33, 17)).astype(np.uint8),
        np.random.default_rng(0).integers(0, 2, (3, 1, 28, 28)).astype(np.uint8) * 255,
    ],
    ids=lambda images: f"{images.shape}",
)
def test_pillow_reads_every_png_back(images: np.ndarray):
    """Flat ones, which stay unfiltered, and those whose rows are kept as differences."""
    files = png_files(images)
    for file, image in zip(files, images, strict=True):
        with Image.open(io.BytesIO(file)) as picture:
            picture.verify()  # the checksums
        assert np.array_equal(pixels(file), image)
        assert png_files(image[None]) == [file]


def test_a_png_is_not_much_larger_than_pillows():
    draw = np.random.default_rng(1)
    strokes = (draw.random((1, 1, 28, 7)) < 0.2).repeat(4, axis=3) * 255
    for images in (
        strokes,
        np.minimum(smooth(1, 28) // 2 + draw.integers(0, 9, (1, 1, 28, 28)), 255),
        np.minimum(smooth(3, 64) // 2 + draw.integers(0, 9, (1, 3, 64, 64)), 255),
        draw.integers(0, 256, (1, 3, 32, 32)),
    ):
        theirs = io.BytesIO()
        to_picture(images[0].astype(np.uint8)).save(theirs, format="PNG")
        (ours,) = png_files(images.astype(np.uint8))
        assert len(ours) < LARGEST_PNG * len(theirs.getvalue())


@pytest.mark.parametrize("wanted", FORMATS)
def test_the_same_images_give_the_same_bytes(wanted):
    batch = make_batch(12, 3)
    first = encode(batch, wanted).body
    assert encode(make_batch(12, 3), wanted).body == first
    other = make_batch(12, 3)
    other.images[5, 0, 0, 0] ^= 1
    assert encode(other, wanted).body != first


def test_an_image_has_the_same_png_alone_and_in_a_batch():
    batch = make_batch(64, 3)
    together = GenerateResponse.model_validate_json(encode(batch, "json").body).images
    for i in (0, 17, 63):
        alone = Batch("toy", batch.images[i : i + 1], [1], [1], batch.class_names, None)
        assert base64.b64encode(encode(alone, "png").body).decode() == together[i].png


@pytest.mark.parametrize("layout", [np.asfortranarray, lambda images: np.repeat(images, 2, axis=0)[::2]])
def test_images_of_any_memory_layout(layout):
    batch = make_batch(5, 3)
    moved = Batch("toy", layout(batch.images), batch.seeds, batch.labels, batch.class_names, None)
    for wanted in FORMATS:
        assert encode(moved, wanted).body == encode(batch, wanted).body
