"""Images -> response bodies: every format gives the images back, and the same images give the same bytes."""

import base64
import io
import json
import zipfile

import numpy as np
import pytest
from PIL import Image

from gan_client.types import GenerateResponse
from gan_serving.encode import FORMATS, Batch, choose_format, encode

MEDIA_TYPES = {"json": "application/json", "png": "image/png", "npy": "application/x-npy", "zip": "application/zip"}
MARGIN = 2  # pixels


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


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        ("", "json"),
        ("*/*", "json"),
        ("application/json", "json"),
        ("image/png", "png"),
        ("IMAGE/PNG", "png"),
        (" image/png ;q=0.8, application/zip", "png"),
        ("text/html, application/zip;level=1, image/png", "zip"),
        ("image/webp,image/*,*/*;q=0.8", "json"),
        ("application/x-npy", "npy"),
        ("application/zip", "zip"),
        ("text/html", "json"),
        ("image/pngx", "json"),
        (",,;;, ,image/png", "png"),
        ("image/png" + "," * 100_000, "png"),
        ("\x00\xff", "json"),
    ],
)
def test_the_accept_header(accept: str, wanted: str):
    assert choose_format(accept) == wanted
