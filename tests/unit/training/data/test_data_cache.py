"""The cache of decoded images: quick and right the second time, whole or absent, and never larger than allowed."""

import os
import resource
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gan_training.data import DataError, ImageData, decoding, load_data, pixel_cache

COUNT = 150  # images, from which on these tests cache
MIB = 2**20


def fill_folder(root: Path, count: int, channels: int = 3, size: int = 16) -> None:
    for name in "ab":
        (root / name).mkdir(parents=True)
    shape = (count, size, size, channels)[: 4 if channels > 1 else 3]
    images = np.random.default_rng(channels).integers(0, 256, shape).astype(np.uint8)
    for i, image in enumerate(images):
        Image.fromarray(image).save(root / "ab"[i % 2] / f"{i}.bmp")


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As many images as are cached, in two classes; not to be changed."""
    root = tmp_path_factory.mktemp("originals")
    fill_folder(root, COUNT)
    return root


@pytest.fixture
def photos(originals: Path, tmp_path: Path) -> Path:
    """A copy that may be changed."""
    return shutil.copytree(originals, tmp_path / "photos")


@pytest.fixture(autouse=True)
def _cached_from_so_many(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ARG001
    monkeypatch.setattr(decoding, "CACHE_FROM_IMAGES", COUNT)


@pytest.fixture
def load() -> Callable[..., tuple[ImageData, int]]:
    """`load_data` of a folder, and how many images had to be decoded for it."""

    def run(root: Path, *asked: int | None) -> tuple[ImageData, int]:
        told = [0]
        data = load_data(f"folder:{root}", *asked, progress=lambda done, _: told.append(done))
        return data, told[-1]

    return run


def files(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.iterdir())


def direct(root: Path, size: int = 16) -> np.ndarray:
    """(N, 3, size, size) by Pillow alone."""
    paths = [root / "ab"[i] / f"{n}.bmp" for i in range(2) for n in range(i, COUNT, 2)]
    images = [np.asarray(Image.open(path).resize((size, size), Image.Resampling.LANCZOS)) for path in paths]
    return np.stack(images).transpose(0, 3, 1, 2)


def test_the_second_load_decodes_nothing_and_gives_the_same(originals, cache, load):
    for decoded in (COUNT, 0, 0):
        data, told = load(originals)
        assert told == decoded
        assert np.array_equal(data.images.numpy(), direct(originals))
        assert data.class_names == ("a", "b")
        assert data.labels is not None
        assert data.labels.tolist() == [0] * (COUNT // 2) + [1] * (COUNT // 2)
    assert len(files(cache)) == 1


def test_the_images_are_mapped_and_writing_to_them_leaves_the_file_alone(originals, cache, load):
    load(originals)
    data, _ = load(originals)
    assert files(cache)[0] in Path("/proc/self/maps").read_text()
    data.images.fill_(7)
    assert np.array_equal(load(originals)[0].images.numpy(), direct(originals))


def test_a_small_folder_leaves_no_file(tmp_path, cache, load):
    fill_folder(tmp_path / "few", COUNT - 1)
    for _ in range(2):
        assert load(tmp_path / "few")[1] == COUNT - 1
    assert not cache.exists()


def test_few_large_files_are_cached_too(originals, load, monkeypatch):
    monkeypatch.setattr(decoding, "CACHE_FROM_IMAGES", COUNT + 1)
    monkeypatch.setattr(decoding, "CACHE_FROM_BYTES", sum(path.stat().st_size for path in originals.glob("*/*")))
    assert [load(originals)[1] for _ in range(2)] == [COUNT, 0]


def same_size_and_time(root: Path) -> None:
    path = root / "a" / "0.bmp"
    before = path.stat()
    Image.new("RGB", (16, 16), (1, 2, 3)).save(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)


def other_folder_of_equal_names_sizes_and_times(root: Path) -> None:
    other = shutil.copytree(root, root.with_name("other"))
    same_size_and_time(other)
    root.rename(root.with_name("first"))
    other.rename(root)


@pytest.mark.parametrize(
    "change",
    [
        same_size_and_time,
        other_folder_of_equal_names_sizes_and_times,
        lambda root: (root / "a" / "0.bmp").replace(root / "a" / "1000000.bmp"),
        lambda root: (root / "a" / "0.bmp").replace(root / "b" / "0.bmp"),
        lambda root: shutil.copy(root / "a" / "0.bmp", root / "b" / "0.bmp"),
    ],
)
def test_a_changed_folder_is_decoded_anew(photos, load, change):
    load(photos)
    change(photos)
    data, decoded = load(photos)
    assert decoded == len(data) == len(list(photos.glob("*/*")))
    wanted = [
        np.asarray(Image.open(path)).transpose(2, 0, 1)
        for name in "ab"
        for path in sorted((photos / name).iterdir(), key=lambda path: int(path.stem))
    ]
    assert np.array_equal(data.images.numpy(), np.stack(wanted))


def test_what_was_asked_for_is_kept_apart(originals, cache, load):
    for asked, shape in (((None, None), (3, 16, 16)), ((20, None), (3, 20, 20)), ((None, 1), (1, 16, 16))):
        for decoded in (COUNT, 0):
            data, told = load(originals, *asked)
            assert data.images.shape == (COUNT, *shape)
            assert told == decoded
    assert len(files(cache)) == 3
    assert np.array_equal(load(originals, 20)[0].images.numpy(), direct(originals, 20))


def test_grey_images_are_kept_with_one_channel(tmp_path, cache, load):
    fill_folder(tmp_path / "grey", COUNT, channels=1)
    (first, _), (second, decoded) = load(tmp_path / "grey"), load(tmp_path / "grey")
    assert decoded == 0
    assert second.images.shape == (COUNT, 1, 16, 16)
    assert first.images.equal(second.images)
    assert second.images[0, 0].numpy().tolist() == np.asarray(Image.open(tmp_path / "grey" / "a" / "0.bmp")).tolist()
    assert (cache / files(cache)[0]).stat().st_size < COUNT * 16 * 16 + 1000


def test_one_channel_is_kept_of_more_than_fits_in_a_block():
    images = np.frombuffer(np.random.default_rng(0).bytes(50 * 3 * 512 * 512), np.uint8).reshape(50, 3, 512, 512)
    assert images.nbytes > 2 * pixel_cache._BLOCK

    def fill(put: pixel_cache.PutFn) -> int:
        for index, image in enumerate(images):
            put(index, image)
        return 1

    assert np.array_equal(pixel_cache.store("grey", images.shape, fill), images[:, :1])


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


@pytest.mark.parametrize(
    "damage",
    [
        truncate,
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"junk" * 99),
        lambda path: np.save(path, np.zeros((COUNT - 1, 3, 16, 16), np.uint8)),
        lambda path: np.save(path, np.zeros((COUNT, 3, 16, 16), np.float32)),
        lambda path: np.save(path, np.array([{}] * COUNT), allow_pickle=True),
    ],
)
def test_a_damaged_file_is_made_anew(originals, cache, load, damage):
    load(originals)
    damage(cache / files(cache)[0])
    for decoded in (COUNT, 0):
        data, told = load(originals)
        assert told == decoded
        assert np.array_equal(data.images.numpy(), direct(originals))


def test_an_unreadable_image_is_named_and_nothing_is_kept(photos, cache, load):
    (photos / "b" / "1001.bmp").write_bytes(b"junk")
    with pytest.raises(DataError, match=r"1001\.bmp.*can't be read as an image"):
        load(photos, 16)
    assert files(cache) == []


def constant(value: int, shape: tuple[int, int, int, int] = (4, 1, 512, 512)) -> Callable[[pixel_cache.PutFn], int]:
    def fill(put: pixel_cache.PutFn) -> int:
        for index in range(shape[0]):
            put(index, np.full(shape[1:], value, np.uint8))
        return shape[1]

    return fill


def test_what_was_not_used_for_longest_makes_room(cache, monkeypatch):
    monkeypatch.setenv("GAN_CACHE_GIB", str(3.5 / 1024))  # three files of 1 MiB
    shape = (4, 1, 512, 512)
    mapped = {key: pixel_cache.store(key, shape, constant(value)) for value, key in enumerate("abc")}
    for seconds, key in enumerate("abc"):
        os.utime(cache / f"pixels-{key}.npy", (seconds, seconds))
    (cache / "ruler-1.pt").write_bytes(bytes(4 * MIB))
    assert pixel_cache.find("a", 4) is not None
    pixel_cache.store("d", shape, constant(3))
    assert files(cache) == ["pixels-a.npy", "pixels-c.npy", "pixels-d.npy", "ruler-1.pt"]
    assert (mapped["b"] == 1).all()  # whoever uses it keeps it


def no_folder(cache: Path, _: pytest.MonkeyPatch) -> None:
    cache.write_bytes(b"")


def limited(_: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GAN_CACHE_GIB", "0.00001")


def file_too_large(_: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Writing fails in the middle, as on a full disk."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # it would be cut off
    resource.setrlimit(resource.RLIMIT_FSIZE, (COUNT * 16 * 16, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


@pytest.mark.parametrize(
    ("hinder", "words"),
    [(no_folder, "File exists"), (limited, "GAN_CACHE_GIB is 1e-05"), (file_too_large, "File too large")],
)
def test_without_a_usable_cache_few_images_go_into_memory_and_many_are_refused(
    originals, cache, load, monkeypatch, hinder, words
):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    hinder(cache, monkeypatch)
    try:
        for _ in range(2):
            data, decoded = load(originals)
            assert decoded == COUNT
            assert np.array_equal(data.images.numpy(), direct(originals))
        monkeypatch.setattr(decoding, "MEMORY_BYTES", 1000)
        with pytest.raises(DataError, match=f"{words}.*set GAN_CACHE to a folder.*GAN_CACHE_GIB") as caught:
            load(originals)
        assert "\n" not in str(caught.value)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert cache.is_file() or files(cache) == []


@pytest.mark.parametrize("text", ["many", "-1", "nan", "inf"])
def test_a_limit_that_is_no_size_is_refused(originals, load, monkeypatch, text):
    monkeypatch.setenv("GAN_CACHE_GIB", text)
    with pytest.raises(DataError, match=f"GAN_CACHE_GIB is '{text}'; it must be a number of GiB, 0 or more"):
        load(originals)
