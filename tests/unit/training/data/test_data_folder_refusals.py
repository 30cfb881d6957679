"""Folders that can't be taken as they are: damaged files, layouts without a clear meaning, what may not be read."""

import os
import shutil
import struct
import tempfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from image_files import NOISE, flat, noise_png, put

from gan_training.data import DataError, load_data


def png_header(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(99))) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("image_size", [None, 16])
@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda p: p.write_bytes(b""), "no image format is recognised"),
        (lambda p: p.write_text("hello"), "no image format is recognised"),
        (lambda p: p.write_bytes(noise_png()[:400]), "can't be read as an image"),
        (lambda p: p.write_bytes(noise_png()[:30]), "can't be read as an image"),
        (lambda p: p.write_bytes(png_header(12_000, 12_000)), "too many pixels to decode safely"),
        (lambda p: p.write_bytes(png_header(40_000, 40_000)), "too many pixels to decode safely"),
        (lambda p: p.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"), "no image format"),
        (lambda p: flat("F", 3.5).save(p, format="tiff"), r"floats in \[3.5, 3.5\]"),
        (lambda p: flat("F", float("nan")).save(p, format="tiff"), "not finite"),
        (lambda p: flat("I", 70_000).save(p, format="tiff"), r"grey values 70000\.\.70000"),
        (lambda p: flat("I", -1).save(p, format="tiff"), r"grey values -1\.\.-1"),
        (lambda p: os.mkfifo(p), "not a regular file"),
        (lambda p: p.symlink_to(p), "can't be read"),
        (lambda p: p.symlink_to(p.with_name("nowhere.png")), "can't be read"),
    ],
)
def test_a_file_that_claims_to_be_an_image_is_named(tmp_path, make, words, image_size):
    put(tmp_path / "set" / "cat" / "1.png", flat("L", 5))
    bad = tmp_path / "set" / "cat" / "2.png"
    make(bad)
    with pytest.raises(DataError, match=words) as caught:
        load_data(f"folder:{tmp_path / 'set'}", image_size)
    assert str(bad) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_damage_anywhere_in_a_file_is_a_clear_line_and_never_another_exception(tmp_path):
    random, refused = np.random.default_rng(7), 0
    for suffix in ("png", "jpg", "gif", "webp", "tiff", "bmp"):
        put(tmp_path / f"0.{suffix}", NOISE)
        good = (tmp_path / f"0.{suffix}").read_bytes()
        for _ in range(25):
            damaged = bytearray(good)
            for place in random.integers(0, len(good), 6):
                damaged[place] = int(random.integers(256))
            (tmp_path / f"1.{suffix}").write_bytes(damaged)
            try:
                data = load_data(f"folder:{tmp_path}", 16)
            except DataError as error:
                assert f"1.{suffix}" in str(error)  # noqa: PT017
                refused += 1
            else:
                assert len(data) == 2
        for path in tmp_path.iterdir():
            path.unlink()
    assert 20 < refused < 150


def mixed(root: Path) -> None:
    put(root / "1.png", flat("L", 5))
    put(root / "cat" / "1.png", flat("L", 5))


def empty_class(root: Path) -> None:
    put(root / "cat" / "1.png", flat("L", 5))
    (root / "dog").mkdir()
    (root / "dog" / "README.txt").touch()


def one_level_too_deep(root: Path) -> None:
    put(root / "train" / "cat" / "1.png", flat("L", 5))
    put(root / "test" / "cat" / "1.png", flat("L", 5))


def loop_of_links(root: Path) -> None:
    put(root / "cat" / "1.png", flat("L", 5))
    (root / "cat" / "again").symlink_to(root, target_is_directory=True)


def dangling_class(root: Path) -> None:
    put(root / "cat" / "1.png", flat("L", 5))
    (root / "dog").symlink_to(root / "moved-away", target_is_directory=True)


def only_text(root: Path) -> None:
    (root / "README.txt").touch()


def one_image(root: Path) -> None:
    put(root / "1.png", flat("L", 5))


def undecodable_name(root: Path) -> None:
    put(root / os.fsdecode(b"caf\xe9") / "1.png", flat("L", 5))
    put(root / "tea" / "1.png", flat("L", 5))


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (mixed, r"images \(1\.png\) and folders \(cat\)"),
        (empty_class, "class 'dog' has no image"),
        (one_level_too_deep, r"class 'test' holds folders \(cat\).*write folder:.*test"),
        (loop_of_links, r"class 'cat' holds folders \(again\)"),
        (dangling_class, "dog: can't be read"),
        (only_text, "holds no image"),
        (lambda _: None, "holds no image"),
        (one_image, r"holds 1 image\(s\)"),
        (undecodable_name, r"class 0 is named 'caf\\udce9'"),
    ],
)
def test_layouts_with_no_clear_meaning_are_refused(tmp_path, build, words):
    build(tmp_path)
    with pytest.raises(DataError, match=words):
        load_data(f"folder:{tmp_path}")


def test_a_class_that_links_back_to_its_parent_does_not_hang(tmp_path):
    put(tmp_path / "cat" / "1.png", flat("L", 5))
    (tmp_path / "loop").symlink_to(tmp_path, target_is_directory=True)
    with pytest.raises(DataError, match="class 'loop' holds folders"):
        load_data(f"folder:{tmp_path}")


def test_missing_folder_and_file_in_its_place(tmp_path):
    (tmp_path / "file").touch()
    for argument, words in (("nowhere", "doesn't exist"), ("file", "is a file, and a folder is needed")):
        with pytest.raises(DataError, match=words):
            load_data(f"folder:{tmp_path / argument}")


@pytest.fixture
def open_folder():
    """A folder that every user may enter, unlike pytest's own."""
    path = Path(tempfile.mkdtemp())
    path.chmod(0o755)
    yield path
    for folder in path.rglob("*"):
        if folder.is_dir():
            folder.chmod(0o755)
    shutil.rmtree(path)


@pytest.mark.parametrize(
    ("locked", "mode", "words"),
    [
        ("set", 0o000, "can't list this folder|can't be read"),
        ("set", 0o600, "can't be read|can't list"),
        ("set/cat", 0o000, "cat: can't list this folder"),
        ("set/cat", 0o444, "can't be read"),
        ("set/cat/1.png", 0o000, "1.png: no permission to read this file"),
    ],
)
def test_what_may_not_be_read_is_named(open_folder, locked, mode, words):
    put(open_folder / "set" / "cat" / "1.png", flat("L", 5))
    put(open_folder / "set" / "cat" / "2.png", flat("L", 5))
    (open_folder / locked).chmod(mode)
    user = os.geteuid()
    if user == 0:  # root may read everything
        os.seteuid(65534)
    try:
        with pytest.raises(DataError, match=words) as caught:
            load_data(f"folder:{open_folder / 'set'}")
    finally:
        os.seteuid(user)
    assert str(open_folder / "set") in str(caught.value)
