"""The client's parts that need no service: retry rules, labels, files, images, errors."""

import pickle
import unicodedata
from datetime import UTC, datetime

import numpy as np
import pytest

from gan_client import Animation, Frames, Generation, Image, Latents, errors
from gan_client.files import image_name, slug, write_all
from gan_client.labels import class_ids, parse_label, parse_labels, ranges
from gan_client.requests import generate_request
from gan_client.retry import Deadline, backoff, parse_retry_after, pause
from gan_serving.formats.batch import Batch
from gan_serving.formats.encode import encode

NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)


def test_backoff_grows_from_half_a_second_to_eight():
    assert [backoff(tries, 0.0) for tries in (1, 5, 5000)] == [0.5, 0.5, 0.5]
    assert [backoff(tries, 1.0) for tries in (1, 2, 3, 4, 5, 5000)] == [1.0, 2.0, 4.0, 8.0, 8.0, 8.0]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (errors.ConnectionFailedError("x"), 1.0),
        (errors.QueueFullError("x", status=429), 1.0),
        (errors.QueueFullError("x", status=429, retry_after=3.0), 3.3),
        (errors.QueueFullError("x", status=429, retry_after=0.0), 1.0),  # says nothing of how long
        (errors.QueueFullError("x", status=429, retry_after=9.5), None),  # would outlast the deadline
        (errors.UnavailableError("x", status=502), 1.0),
        (errors.UnavailableError("x", status=503), 1.0),
        (errors.ServiceDeadlineError("x", status=504), 1.0),
        (errors.InvalidRequestError("x", status=400), None),
        (errors.InternalServerError("x", status=500), None),
        (errors.UnexpectedResponseError("x", status=200), None),
        (errors.DeadlineExceededError("x"), None),
        (errors.InvalidArgumentError("x"), None),
    ],
)
def test_which_errors_are_tried_again_and_when(error, expected):
    wait = pause(error, tries=1, max_retries=2, remaining=10.0, draw=1.0)
    assert wait == (None if expected is None else pytest.approx(expected))


def test_last_try_and_end_of_time_are_final():
    error = errors.ConnectionFailedError("x")
    assert pause(error, tries=3, max_retries=3, remaining=10.0, draw=0.0) == 0.5
    assert pause(error, tries=4, max_retries=3, remaining=10.0, draw=0.0) is None
    assert pause(error, tries=1, max_retries=3, remaining=0.5, draw=0.0) is None


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("0", 0.0),
        (" 12 ", 12.0),
        ("1.5", 1.5),
        ("Thu, 01 Jan 2026 12:00:30 GMT", 30.0),
        ("Thu, 01 Jan 2026 12:00:30 -0000", 30.0),
        ("Thu, 01 Jan 2026 11:00:00 GMT", 0.0),
        ("-1", None),
        ("nan", None),
        ("soon", None),
        ("Mon, 01 Jan 99999999999999999999 00:00:00 GMT", None),
        ("", None),
    ],
)
def test_retry_after_header(header, seconds):
    assert parse_retry_after(header, NOW) == seconds


def test_deadline_never_goes_below_zero():
    assert Deadline(0.0).remaining == 0.0
    assert 0 < Deadline(60.0).remaining <= 60.0


@pytest.mark.parametrize(
    ("text", "label"), [("7", "7"), (" 7 ", "7"), ("+7", 7), ("Sneaker", "Sneaker"), ("T-shirt", "T-shirt")]
)
def test_label(text, label):
    assert parse_label(text) == label


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("0-2", [0, 1, 2]),
        ("0,3,5", ["0", "3", "5"]),
        ("4-6, cat ,T-shirt", [4, 5, 6, "cat", "T-shirt"]),
        ("3-3", [3]),
    ],
)
def test_label_list(text, labels):
    assert parse_labels(text) == labels


def test_class_names_are_the_same_in_every_form_of_unicode():
    names = ["birnen", unicodedata.normalize("NFD", "rote Äpfel")]
    assert class_ids(["rote Äpfel", names[1], "birnen", 1], names, "obst") == [1, 1, 0, 1]


@pytest.mark.parametrize(
    ("label", "advice"),
    [
        ("bäume im herbst", "did you mean 'Bäume im Herbst'? Else give 0 to 2 or a class name"),
        ("Bäume in Herbst", "did you mean 'Bäume im Herbst'? Else give 0 to 2 or a class name"),
        ("horse", "'wald': give 0 to 2 or a class name"),
        ("7", "'wald': give 0 to 2 or a class name"),
    ],
)
def test_unknown_label_is_answered_with_the_nearest(label, advice):
    with pytest.raises(errors.InvalidArgumentError) as caught:
        class_ids([label], ["Wiese", "Bäume im Herbst", "Bäume im Winter"], "wald")
    assert str(caught.value).endswith(advice)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "labels is ''"),
        ("1,,2", "labels is '1,,2'"),
        ("9-0", "a range goes upwards, 0-9"),
        ("-1", "label is -1"),
        ("0-999999999", "labels has over 100000 entries"),
    ],
)
def test_wrong_label_list(text, message):
    with pytest.raises(errors.InvalidArgumentError, match=message):
        parse_labels(text)


@pytest.mark.parametrize(
    ("numbers", "text"), [([], ""), ([4], "4"), ([3, 1, 2, 2], "1-3"), ([0, 1, 5, 7, 8], "0-1,5,7-8")]
)
def test_ranges(numbers, text):
    assert ranges(numbers) == text


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("T-shirt/top", "T-shirt-top"),
        ("../../etc/passwd", "etc-passwd"),
        ("..", ""),
        ("a\x00b\nc\\d:e", "a-b-c-d-e"),
        ("猫", "猫"),
        ("x" * 300, "x" * 40),
    ],
)
def test_slug_is_a_harmless_part_of_a_file_name(name, expected):
    assert slug(name) == expected


def test_image_names_sort_by_index_and_carry_seed_and_label():
    assert image_name(3, 64, 126, 7, "7") == "0003_seed-126_label-7.png"
    assert image_name(3, 64, 126, 7, "Sneaker") == "0003_seed-126_label-7-Sneaker.png"
    assert image_name(0, 1, None, None, None) == "0000.png"
    names = [image_name(i, 12_000, 10**6 - i, None, None) for i in range(12_000)]
    assert names == sorted(names)


def test_write_all_leaves_no_temporary_file_when_it_fails(tmp_path):
    (tmp_path / "b.png" / "in the way").mkdir(parents=True)
    with pytest.raises(OSError, match=r"b\.png"):
        write_all(tmp_path, {"a.png": b"a", "b.png": b"b"})
    assert not list(tmp_path.glob(".*"))


def test_write_all_replaces_whole_files(tmp_path):
    (tmp_path / "a.png").write_bytes(b"old")
    assert write_all(tmp_path, {"a.png": b"new", "c.png": b"c"}) == [tmp_path / "a.png", tmp_path / "c.png"]
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a.png": b"new", "c.png": b"c"}


def _generation(service, count: int) -> Generation:
    images = [Image(service.png(seed, None), seed, None) for seed in range(count)]
    return Generation(images, model="dcgan", request_id="id")


@pytest.mark.parametrize("channels", [1, 3])
def test_images_as_arrays(service, channels):
    service.channels = channels
    images = _generation(service, 5)
    assert images.arrays.shape == (5, 6, 4, channels)
    assert images.arrays.dtype == np.uint8
    for i, image in enumerate(images):
        assert np.array_equal(images.arrays[i], image.numpy())
        assert np.array_equal(np.asarray(image.pil()).reshape(6, 4, channels), image.numpy())
    assert len({array.tobytes() for array in images.arrays}) == 5


@pytest.mark.parametrize("channels", [1, 3])
def test_contact_sheet(service, channels):
    service.channels = channels
    images = _generation(service, 5)
    assert images.grid().size == (3 * 4 + 4 * 2, 2 * 6 + 3 * 2)
    assert images.grid(columns=1).size == (4 + 2 * 2, 5 * 6 + 6 * 2)
    assert images.grid(columns=100).size == (5 * 4 + 6 * 2, 6 + 2 * 2)
    sheet = np.asarray(images.grid(columns=2)).reshape(3 * 6 + 4 * 2, 2 * 4 + 3 * 2, channels)
    for i, image in enumerate(images):
        top, left = 2 + i // 2 * 8, 2 + i % 2 * 6
        assert np.array_equal(sheet[top : top + 6, left : left + 4], image.numpy())
    assert (sheet[[0, 1, 8, 9, 24, 25]] == 255).all()
    assert (sheet[18:, 8:] == 255).all()  # the sixth place is empty
    assert Image(images.grid_png(), None, None).numpy().shape == (18, 20, channels)
    for columns in (0, 1001):
        with pytest.raises(errors.InvalidArgumentError, match=f"columns is {columns}: .* from 1 to 1000"):
            images.grid(columns=columns)


@pytest.mark.parametrize("count", [1, 2, 5, 16])
@pytest.mark.parametrize("columns", [None, 1, 3, 100])
@pytest.mark.parametrize("channels", [1, 3])
def test_contact_sheet_is_the_services_to_the_pixel(service, channels, columns, count):
    service.channels = channels
    images = _generation(service, count)
    batch = Batch("toy", images.arrays.transpose(0, 3, 1, 2), None, None, None, columns)
    of_service = Image(encode(batch, "png").body, None, None)
    assert images.grid(columns).mode == of_service.pil().mode
    assert np.array_equal(Image(images.grid_png(columns), None, None).numpy(), of_service.numpy())


def test_generation_is_a_sequence(service):
    images = _generation(service, 3)
    assert [image.seed for image in images[1:]] == [1, 2]
    assert images[-1].seed == 2
    assert images[:2] == _generation(service, 2)
    assert images != _generation(service, 2)
    assert "PNG" not in repr(images[0])
    assert images[0]._repr_png_() == images[0].png
    assert images._repr_png_() == images.grid_png()
    assert images[:0]._repr_png_() is None
    with pytest.raises(errors.InvalidArgumentError, match="0 images"):
        images[:0].grid()


def test_numpy_takes_results_for_the_arrays_that_they_hold(service):
    images = _generation(service, 2)
    latents = Latents(np.zeros((2, 3), np.float32), None, "m", "id")
    frames = Frames(np.ones((2, 4, 4, 1), np.uint8), "m", "id")
    for it, array in (
        (images, images.arrays),
        (images[0], images[0].numpy()),
        (latents, latents.arrays),
        (frames, frames.arrays),
    ):
        assert np.array_equal(np.asarray(it), array)
        assert np.asarray(it).dtype == array.dtype
        assert np.asarray(it, np.float64).dtype == np.float64
    assert np.asarray(latents) is latents.arrays
    assert np.array(latents) is not latents.arrays
    assert np.array(latents).base is None
    assert generate_request(None, None, None, None, latents, None, None).latents == [[0.0] * 3] * 2
    with pytest.raises(ValueError, match="without a copy"):
        latents.__array__(np.float64, copy=False)


def test_saving(service, tmp_path):
    images = _generation(service, 2)
    paths = images.save(str(tmp_path / "new" / "folder"))
    assert [path.read_bytes() for path in paths] == [image.png for image in images]
    assert images[0].save(tmp_path / "one.png").read_bytes() == images[0].png


@pytest.mark.parametrize("name", ["one.jpg", "one.WEBP", "one.bmp", "one.npz"])
def test_a_file_has_no_name_of_another_format(service, tmp_path, name):
    images = _generation(service, 2)
    with pytest.raises(ValueError, match=rf"path is '.*{name}', but the file is png: end its name in \.png, or "):
        images[0].save(tmp_path / "new" / name)
    motion = Animation(b"GIF89a", "image/gif", "m", "id", 3)
    with pytest.raises(errors.InvalidArgumentError, match=r"but the file is gif: end its name in \.gif, or ask"):
        motion.save(tmp_path / "new" / name)
    assert not (tmp_path / "new").exists()
    for fine in ("way.gif", "way", "way.v2"):
        assert motion.save(tmp_path / fine).read_bytes() == b"GIF89a"


@pytest.mark.parametrize("name", ["sheet.png", "images.npz", "images.zip", "film.mp4"])
def test_images_are_not_saved_into_a_folder_with_the_name_of_a_file(service, tmp_path, name):
    images = _generation(service, 2)
    with pytest.raises(ValueError, match=r"the name of a file: save\(\) makes a folder .* grid\(\)\.save\(\) one"):
        images.save(tmp_path / name)
    assert not (tmp_path / name).exists()
    (tmp_path / name).mkdir()
    assert len(images.save(tmp_path / name)) == 2


def test_damaged_png_is_a_clear_error(broken_png):
    with pytest.raises(errors.UnexpectedResponseError, match="seed 4 is not a readable PNG"):
        Image(broken_png, 4, None).numpy()


def test_errors_survive_pickling():
    error = errors.QueueFullError("full", status=429, code="queue_full", request_id="abc", retry_after=2.0)
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), vars(copy)) == (type(error), str(error), vars(error))
    assert str(pickle.loads(pickle.dumps(errors.ClientClosedError()))) == str(errors.ClientClosedError())
