"""idx:DIR on real files: both spellings, gzip or not, and every way a file can be wrong."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from gan_training.data import DataError, load_data

IMAGES = np.random.default_rng(0).integers(0, 256, (12, 28, 28)).astype(np.uint8)
LABELS = (np.arange(12) % 4).astype(np.uint8)


def idx_bytes(array: np.ndarray, *, code: int = 0x08, dims: int | None = None, declare: tuple[int, ...] = ()) -> bytes:
    shape = declare or array.shape
    header = struct.pack(">BBBB", 0, 0, code, array.ndim if dims is None else dims)
    return header + struct.pack(f">{len(shape)}I", *shape) + array.tobytes()


def write_pair(folder: Path, prefix: str = "train", dot: str = "-", suffix: str = "") -> None:
    pack = gzip.compress if suffix else bytes
    (folder / f"{prefix}-images{dot}idx3-ubyte{suffix}").write_bytes(pack(idx_bytes(IMAGES)))
    (folder / f"{prefix}-labels{dot}idx1-ubyte{suffix}").write_bytes(pack(idx_bytes(LABELS)))


@pytest.mark.parametrize("dot", ["-", "."])
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_reads_a_pair_in_every_spelling(tmp_path, dot, suffix):
    write_pair(tmp_path, dot=dot, suffix=suffix)
    data = load_data(f"idx:{tmp_path}")
    assert np.array_equal(data.images[:, 0].numpy(), IMAGES)
    assert data.labels is not None
    assert data.labels.tolist() == LABELS.tolist()
    assert data.class_names == ("0", "1", "2", "3")


def test_gzip_is_recognised_by_content_not_by_name(tmp_path):
    (tmp_path / "train-images-idx3-ubyte").write_bytes(gzip.compress(idx_bytes(IMAGES)))
    (tmp_path / "train-labels-idx1-ubyte.gz").write_bytes(idx_bytes(LABELS))
    assert len(load_data(f"idx:{tmp_path}")) == 12


def test_the_test_split_is_named_after_a_hash(tmp_path):
    write_pair(tmp_path, "t10k", suffix=".gz")
    assert len(load_data(f"idx:{tmp_path}#test")) == 12
    for source in (f"idx:{tmp_path}", f"idx:{tmp_path}#train"):
        with pytest.raises(DataError, match=r"train-images-idx3-ubyte.*idx:DIR#test for the test pair"):
            load_data(source)


def test_without_a_labels_file_the_images_are_unlabelled(tmp_path):
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx_bytes(IMAGES))
    data = load_data(f"idx:{tmp_path}")
    assert data.labels is None
    assert data.class_names == ()
    assert data.classes == 0


def test_four_dimensions_are_colour(tmp_path):
    colour = np.random.default_rng(1).integers(0, 256, (5, 32, 32, 3)).astype(np.uint8)
    (tmp_path / "train-images-idx4-ubyte").write_bytes(idx_bytes(colour))
    data = load_data(f"idx:{tmp_path}")
    assert np.array_equal(data.images.permute(0, 2, 3, 1).numpy(), colour)


PLAIN = idx_bytes(IMAGES)
PACKED = gzip.compress(PLAIN, mtime=0)  # the time would stand in the names of the tests


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "begins with nothing"),
        (b"\0\0\x08", "no IDX file: it begins with 000008"),
        (b"<html>not found</html>", "begins with 3c68746d, not with 0000"),
        (idx_bytes(IMAGES, code=0x0D), r"0x0d \(float32\)"),
        (idx_bytes(IMAGES, code=0x42), r"0x42 \(unknown\)"),
        (idx_bytes(LABELS), "1 dimensions; 3 or 4 are needed"),
        (idx_bytes(IMAGES, dims=0), "0 dimensions"),
        (PLAIN[:9], "ends inside its header"),
        (
            PLAIN[:-1],
            r"truncated: the header declares 9408 bytes of values \(12 x 28 x 28\) and 9407 are there",
        ),
        (PLAIN + b"\0", "too long"),
        (idx_bytes(IMAGES, declare=(0, 28, 28)), "too long"),
        (idx_bytes(IMAGES, declare=(2**32 - 1, 2**32 - 1, 2**32 - 1)), "limit is 16 GiB"),
        (idx_bytes(IMAGES, declare=(100_000, 100, 100)), "more than the file can hold"),
        (gzip.compress(idx_bytes(IMAGES, declare=(2**20, 64, 64)), mtime=0), "more than the file can hold"),
        (gzip.compress(PLAIN[:-1], mtime=0), "9407 are there"),
        (gzip.compress(PLAIN + b"\0", mtime=0), "too long"),
        (PACKED[:-20], "can't be read"),
        (PACKED[:200], "can't be read"),
        (PACKED[:300] + b"\xff" * 40 + PACKED[340:], "can't be read"),
        (PACKED[:-8] + b"\0\0\0\0" + PACKED[-4:], "can't be read.*CRC"),
        (PACKED[:5], "can't be read"),
        (idx_bytes(np.zeros((3, 28, 28, 2), np.uint8)), "2 channels"),
        (idx_bytes(np.zeros((3, 0, 28), np.uint8)), "28 x 0 pixels"),
        (idx_bytes(np.zeros((0, 28, 28), np.uint8)), "holds 0 image"),
    ],
)
def test_malformed_images_file_is_refused_by_name(tmp_path, content, words):
    (tmp_path / "train-images-idx3-ubyte").write_bytes(content)
    with pytest.raises(DataError, match=words) as caught:
        load_data(f"idx:{tmp_path}")
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (idx_bytes(LABELS[:-1]), "11 labels and train-images-idx3-ubyte has 12 images"),
        (idx_bytes(IMAGES), "3 dimensions; 1 are needed"),
        (idx_bytes(LABELS)[:-3], "truncated"),
        (idx_bytes(np.where(LABELS == 2, 1, LABELS).astype(np.uint8)), "no image of class 2"),
        (idx_bytes(LABELS + 1), "no image of class 0"),
    ],
)
def test_malformed_labels_are_refused(tmp_path, labels, words):
    write_pair(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(labels)
    with pytest.raises(DataError, match=words):
        load_data(f"idx:{tmp_path}")


def test_a_folder_in_the_place_of_a_file_is_refused(tmp_path):
    (tmp_path / "train-images-idx3-ubyte").mkdir()
    with pytest.raises(DataError, match="is a folder, and a file is needed"):
        load_data(f"idx:{tmp_path}")


@pytest.mark.parametrize(
    ("argument", "words"),
    [("missing", "doesn't exist"), ("a\0b", "not a usable path"), ("~nobody-of-this-name/x", "not a usable path")],
)
def test_a_directory_that_is_none_is_refused(argument, words):
    with pytest.raises(DataError, match=words):
        load_data(f"idx:{argument}")
