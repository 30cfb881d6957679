"""A body that is made part by part is the body that is made at once, byte by byte; other programs can read it."""

import base64
import io
import json
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest
from PIL import Image
from pydantic import TypeAdapter

from gan_client.types import ErrorDetail, GenerateResponse, StreamDone, StreamedImage, StreamError, StreamLine
from gan_serving.formats.archive import StoredZip
from gan_serving.formats.batch import Batch
from gan_serving.formats.encode import encode
from gan_serving.formats.stream_formats import STREAM_FORMATS, NdjsonStream

LINE = TypeAdapter(StreamLine)
NAMES = ["cat", 'Ünï "quoted" \\ \u2028', "7"]
PARTS = 50  # of a long response: 3 MB of pixels

every_format = pytest.mark.parametrize("wanted", STREAM_FORMATS)


def make_batch(n: int, *, seeds: bool = True, labels: bool = True, channels: int = 1) -> Batch:
    images = np.random.default_rng(n).integers(0, 256, (n, channels, 6, 4)).astype(np.uint8)
    return Batch(
        model="toy",
        images=images,
        seeds=[2**53 - 1 - i for i in range(n)] if seeds else None,
        labels=[i % 3 for i in range(n)] if labels else None,
        class_names=NAMES if labels else None,
        columns=None,
    )


def cut(batch: Batch, start: int, stop: int) -> Batch:
    return Batch(
        batch.model,
        batch.images[start:stop],
        None if batch.seeds is None else batch.seeds[start:stop],
        None if batch.labels is None else batch.labels[start:stop],
        batch.class_names,
        None,
    )


@every_format
@pytest.mark.parametrize("size", [1, 4, 11, 64])
@pytest.mark.parametrize(
    "batch",
    [
        make_batch(1),
        make_batch(11),
        make_batch(100, channels=3),
        make_batch(101, seeds=False),
        make_batch(64, labels=False),
    ],
    ids=lambda batch: str(len(batch)),
)
def test_part_by_part_gives_the_bytes_of_all_at_once(wanted, size: int, batch: Batch):
    stream = STREAM_FORMATS[wanted]("toy")
    pieces = [stream.begin(len(batch))]
    pieces += [stream.feed(cut(batch, i, i + size)) for i in range(0, len(batch), size)]
    pieces.append(stream.end())
    encoded = encode(batch, wanted)
    assert b"".join(pieces) == encoded.body
    assert encoded.media_type == stream.media_type


@every_format
def test_each_part_has_its_images_in_it(wanted):
    """Otherwise nothing would be sent before the end."""
    batch = make_batch(40)
    stream = STREAM_FORMATS[wanted]("toy")
    stream.begin(40)
    for i in range(0, 40, 10):
        assert len(stream.feed(cut(batch, i, i + 10))) >= 10 * 24


@every_format
def test_memory_is_bounded_by_the_part(wanted):
    images = np.random.default_rng(0).integers(0, 256, (16, 1, 64, 64)).astype(np.uint8)
    part = Batch("toy", images, None, None, None, None)
    stream = STREAM_FORMATS[wanted]("toy")
    tracemalloc.start()
    try:
        stream.begin(PARTS * len(part))
        made = sum(len(stream.feed(part)) for _ in range(PARTS))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < made / 4


@pytest.mark.parametrize("batch", [make_batch(5), make_batch(5, seeds=False), make_batch(5, labels=False)])
def test_json_is_what_pydantic_would_write(batch: Batch):
    body = encode(batch, "json").body
    response = GenerateResponse.model_validate_json(body)
    assert response.model_dump_json(exclude={"images": {"__all__": {"file"}}}).encode() == body
    assert [image.model_copy(update={"png": None}) for image in response.images] == [
        batch.describe(i) for i in range(5)
    ]


@pytest.mark.parametrize("batch", [make_batch(12), make_batch(3, seeds=False), make_batch(3, labels=False, channels=3)])
def test_lines(batch: Batch):
    *lines, last = encode(batch, "ndjson").body.decode().removesuffix("\n").split("\n")
    images = [LINE.validate_json(line) for line in lines]
    alone = [encode(cut(batch, i, i + 1), "png").body for i in range(len(batch))]
    for i, image in enumerate(images):
        assert isinstance(image, StreamedImage)
        assert image.model_dump_json() == lines[i]
        assert image.index == i
        assert base64.b64decode(image.png) == alone[i]
        described = batch.describe(i)
        assert (image.seed, image.label, image.label_name) == (described.seed, described.label, described.label_name)
    assert LINE.validate_json(last) == StreamDone(count=len(batch), model="toy")


def test_lines_that_end_early_say_why():
    stream, batch = NdjsonStream("toy"), make_batch(8)
    error = ErrorDetail(code="generation_failed", message="image 5 could not\nbe generated", param=None)
    content = stream.begin(8) + stream.feed(cut(batch, 0, 4)) + stream.fail(error, "id-7")
    *lines, last = content.decode().removesuffix("\n").split("\n")
    assert [json.loads(line)["index"] for line in lines] == [0, 1, 2, 3]
    assert LINE.validate_json(last) == StreamError(error=error, request_id="id-7")
    assert json.loads(last)["type"] == "error"


def test_a_line_says_which_kind_it_is():
    with pytest.raises(ValueError, match="type"):
        LINE.validate_json('{"count": 3, "model": "toy"}')
    with pytest.raises(ValueError, match="type"):
        LINE.validate_json('{"type": "more", "count": 3, "model": "toy"}')


def test_npy_is_what_numpy_would_write():
    batch, expected = make_batch(7, channels=3), io.BytesIO()
    np.save(expected, np.ascontiguousarray(batch.images.transpose(0, 2, 3, 1)))
    assert encode(batch, "npy").body == expected.getvalue()


def test_an_archive_of_more_files_than_16_bits_count():
    archive, files = StoredZip(), 66_000
    content = [archive.file(f"{i:05d}.txt", b"%d" % i) for i in range(files)]
    with zipfile.ZipFile(io.BytesIO(b"".join(content) + archive.end())) as opened:
        assert len(opened.infolist()) == files
        for i in (0, 65_534, 65_535, 65_999):
            assert opened.read(f"{i:05d}.txt") == b"%d" % i


def test_an_archive_of_more_bytes_than_32_bits_count(tmp_path):
    """A sparse file: 4 GiB are claimed to have been written, and are not."""
    archive, gap = StoredZip(), 2**32 + 5
    first = archive.file("first", b"one")
    archive._offset += gap
    second, directory = archive.file("second", b"two"), archive.end()
    path = tmp_path / "large.zip"
    with path.open("wb") as file:
        file.write(first)
        file.seek(gap, io.SEEK_CUR)
        file.write(second + directory)
    with zipfile.ZipFile(path) as opened:
        assert opened.namelist() == ["first", "second"]
        assert opened.testzip() is None
        assert opened.getinfo("second").header_offset == len(first) + gap
        assert opened.read("second") == b"two"
        assert opened.getinfo("first").extract_version < opened.getinfo("second").extract_version == 45


def test_an_archive_is_plain_where_it_can_be():
    """No data descriptors, no 64-bit fields, names as UTF-8, no time of its making: any program reads it."""
    archive = StoredZip()
    content = archive.file("ä.png", b"content") + archive.end()
    with zipfile.ZipFile(io.BytesIO(content)) as opened:
        (info,) = opened.infolist()
    assert (info.filename, info.flag_bits, info.extract_version) == ("ä.png", 1 << 11, 20)
    assert (info.compress_type, info.extra, info.date_time) == (zipfile.ZIP_STORED, b"", (1980, 1, 1, 0, 0, 0))
    assert info.external_attr >> 16 == 0o100644
    assert content[-22:-18] == b"PK\x05\x06"
    assert b"PK\x06\x06" not in content
    assert struct.unpack_from("<L", content, 14)[0] == info.CRC


def test_files_of_an_archive_are_pictures():
    batch = make_batch(3, channels=3)
    with zipfile.ZipFile(io.BytesIO(encode(batch, "zip").body)) as archive:
        for i in range(3):
            assert np.array_equal(np.asarray(Image.open(archive.open(f"{i}.png"))), batch.images[i].transpose(1, 2, 0))
