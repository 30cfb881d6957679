"""npz:FILE on real files: layouts, floats, and files that lie or want to run code."""

import io
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

from gan_training.data import DataError, load_data

GREY = np.random.default_rng(0).integers(0, 256, (6, 28, 28)).astype(np.uint8)
RGB = np.random.default_rng(1).integers(0, 256, (6, 32, 32, 3)).astype(np.uint8)
LABELS = np.array([0, 1, 2, 0, 1, 2])


def save(path: Path, **arrays: np.ndarray) -> str:
    np.savez(path, **arrays)
    return f"npz:{path}"


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        (GREY, GREY[:, None]),
        (GREY[..., None], GREY[:, None]),
        (GREY[:, None], GREY[:, None]),
        (RGB, RGB.transpose(0, 3, 1, 2)),
        (RGB.transpose(0, 3, 1, 2), RGB.transpose(0, 3, 1, 2)),
        (np.asfortranarray(RGB), RGB.transpose(0, 3, 1, 2)),
        (GREY / 255.0, GREY[:, None]),
        ((RGB / 255).astype(np.float32), RGB.transpose(0, 3, 1, 2)),
        ((GREY / 255).astype(">f4"), GREY[:, None]),
        ((GREY / 255).astype(np.float16), GREY[:, None]),
    ],
)
def test_layouts_and_types_give_the_same_bytes(tmp_path, images, expected):
    data = load_data(save(tmp_path / "data.npz", images=images))
    assert np.array_equal(data.images.numpy(), expected)
    assert data.labels is None


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.uint64, ">i8"])
def test_labels_and_names(tmp_path, dtype):
    names = np.array(["خروس", "hen", "chick 3"])
    np.savez_compressed(tmp_path / "d.npz", images=RGB, labels=LABELS.astype(dtype), class_names=names, extra=LABELS)
    data = load_data(f"npz:{tmp_path / 'd.npz'}")
    assert data.class_names == ("خروس", "hen", "chick 3")
    assert data.labels is not None
    assert data.labels.tolist() == LABELS.tolist()


class Marker:
    """Unpickling it would create a file: the proof that nothing was unpickled is that there is none."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_pickles_are_refused_and_never_run(tmp_path):
    canary = tmp_path / "ran"
    pickle.loads(pickle.dumps(Marker(canary)))
    assert canary.exists()
    canary.unlink()
    for key in ("images", "labels", "class_names"):
        arrays = {"images": RGB, "labels": LABELS, "class_names": np.array(["a", "b", "c"])}
        arrays[key] = np.array([Marker(canary)] * 6, dtype=object)
        with pytest.raises(DataError, match=f"{key!r} holds Python objects, which are never loaded"):
            load_data(save(tmp_path / "data.npz", **arrays))
    assert not canary.exists()


def with_value(value: float) -> np.ndarray:
    images = GREY / 255.0
    images[3, 5, 5] = value
    return images


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"x": GREY, "y": LABELS}, "no array named 'images'; it holds x, y: write it with np.savez"),
        ({"images": GREY.reshape(6, -1)}, r"shape \(6, 784\)"),
        ({"images": np.zeros((6, 28, 28, 4), np.uint8)}, r"shape \(6, 28, 28, 4\)"),
        ({"images": np.uint8(3)}, r"shape \(\)"),
        ({"images": np.zeros((6, 3, 28, 3), np.uint8)}, "could be"),
        ({"images": np.zeros((0, 28, 28), np.uint8)}, "holds no pixel"),
        ({"images": GREY.astype(np.int64)}, "images are int64; they must be uint8"),
        ({"images": GREY > 3}, "images are bool"),
        ({"images": GREY.astype(np.complex64)}, "images are complex64"),
        ({"images": RGB / 127.5 - 1}, r"floats in \[-1, 1\]; floats must be in \[0, 1\]"),
        ({"images": RGB.astype(np.float32)}, r"floats in \[0, 255\]"),
        ({"images": with_value(np.nan)}, "not finite"),
        ({"images": with_value(np.inf)}, "not finite"),
        ({"images": with_value(-np.inf)}, "not finite"),
        (
            {"images": RGB, "labels": LABELS[:-1]},
            r"labels must be integers of shape \(6,\).*not int64 \(5,\)",
        ),
        ({"images": RGB, "labels": LABELS[:, None]}, r"not int64 \(6, 1\)"),
        ({"images": RGB, "labels": LABELS.astype(float)}, "not float64"),
        ({"images": RGB, "labels": LABELS.astype(str)}, "labels must be integers"),
        ({"images": RGB, "class_names": np.array(["a"])}, "class_names and no labels"),
        (
            {"images": RGB, "labels": LABELS, "class_names": np.array([b"a", b"b", b"c"])},
            "class_names must be text",
        ),
        (
            {"images": RGB, "labels": LABELS, "class_names": np.array([["a", "b", "c"]])},
            "class_names must be text",
        ),
    ],
)
def test_arrays_of_another_kind_are_refused(tmp_path, arrays, words):
    with pytest.raises(DataError, match=words) as caught:
        load_data(save(tmp_path / "data.npz", **arrays))
    assert str(tmp_path / "data.npz") in str(caught.value)


def npy_bytes(array: np.ndarray, version: tuple[int, int] = (1, 0)) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, version)
    return buffer.getvalue()


def zip_with(path: Path, member: bytes) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("images.npy", member)


def declaring(shape: str) -> bytes:
    """A member that is honest but for its shape."""
    return npy_bytes(GREY).replace(b"(6, 28, 28), }" + b" " * 20, f"({shape}), }}".encode().ljust(34))


@pytest.mark.parametrize(
    ("member", "words"),
    [
        (declaring("7, 28, 28"), "declares 5488 bytes and holds 4704"),
        (declaring("5, 28, 28"), "declares 3920 bytes and holds 4704"),
        (declaring("999999, 99999, 9999"), "limit is 16 GiB"),
        (declaring("-6, -28, 28"), "not a readable npz"),
        (npy_bytes(GREY)[:40], "not a readable npz"),
        (b"not npy at all", "not a readable npz"),
        (b"", "not a readable npz"),
        (npy_bytes(GREY).replace(b"'|u1'", b"'?!!'"), "not a readable npz"),
        (npy_bytes(GREY, version=(3, 0)), r"npy version \(3, 0\)"),
    ],
)
def test_members_that_lie_are_refused(tmp_path, member, words):
    zip_with(tmp_path / "data.npz", member)
    with pytest.raises(DataError, match=words) as caught:
        load_data(f"npz:{tmp_path / 'data.npz'}")
    assert "\n" not in str(caught.value)


def test_damage_anywhere_is_a_clear_line_and_never_another_exception(tmp_path):
    path = tmp_path / "data.npz"
    np.savez_compressed(path, images=GREY, labels=LABELS)
    good = path.read_bytes()
    random, refused = np.random.default_rng(5), 0
    for _ in range(150):
        damaged = bytearray(good)
        for place in random.integers(0, len(good), 4):
            damaged[place] ^= int(random.integers(1, 256))
        path.write_bytes(damaged[: len(good) if random.random() < 0.7 else int(random.integers(len(good)))])
        try:
            data = load_data(f"npz:{path}")
        except DataError as error:
            assert str(error).startswith((str(path), f"npz:{path}"))  # noqa: PT017
            refused += 1
        else:
            assert data.images.shape == (6, 1, 28, 28)
    assert refused > 100


@pytest.mark.parametrize("content", [b"", b"PK", npy_bytes(GREY), b"\x89PNG\r\n"])
def test_a_file_of_another_format_is_refused(tmp_path, content):
    path = tmp_path / "data.npz"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"not a readable npz file .*np\.savez"):
        load_data(f"npz:{path}")


def test_paths_that_are_no_file_are_refused(tmp_path):
    for argument, words in ((tmp_path, "is a folder"), (tmp_path / "no.npz", "doesn't exist")):
        with pytest.raises(DataError, match=words):
            load_data(f"npz:{argument}")
