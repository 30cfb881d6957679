"""folder:DIR on real image files: layouts, file modes, and everything that can be wrong with them."""

import io
import os
import shutil
import struct
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gan_training.data import DataError, load_data


def flat(mode: str, colour, size: tuple[int, int] = (16, 16)) -> Image.Image:
    return Image.new(mode, size, colour)


def put(path: Path, image: Image.Image, **options: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)


def test_24_classes_of_rgb_photos_in_mixed_formats(tmp_path):
    colours = np.random.default_rng(0).integers(0, 256, (24, 3))
    for i, colour in enumerate(map(tuple, colours.tolist())):
        for j, (suffix, size) in enumerate([("png", (90, 60)), ("JPG", (33, 50)), ("webp", (200, 200))]):
            put(tmp_path / f"species {i + 1}" / f"{j}.{suffix}", flat("RGB", colour, size), quality=95)
    data = load_data(f"folder:{tmp_path}", image_size=32)
    assert data.images.shape == (72, 3, 32, 32)
    assert data.class_names == tuple(f"species {i + 1}" for i in range(24))
    assert data.classes == 24
    assert data.labels is not None
    assert data.labels.tolist() == [i for i in range(24) for _ in range(3)]
    means = data.images.float().mean(dim=(2, 3)).numpy()
    assert np.abs(means - np.repeat(colours, 3, axis=0)).max() <= 4  # JPEG and WebP are lossy


def test_images_directly_in_the_folder_are_unlabelled(tmp_path):
    for i in (10, 9, 1):
        put(tmp_path / f"{i}.png", flat("L", i))
    data = load_data(f"folder:{tmp_path}")
    assert data.labels is None
    assert data.class_names == ()
    assert data.images[:, 0, 0, 0].tolist() == [1, 9, 10]


def test_loading_twice_gives_the_same_bytes_in_the_same_order(tmp_path):
    random = np.random.default_rng(0)
    for name in ("b", "a", "C"):
        for i in range(8):
            put(
                tmp_path / name / f"{i}.jpg",
                Image.fromarray(random.integers(0, 256, (40, 60, 3)).astype(np.uint8)),
            )
    first, second = (load_data(f"folder:{tmp_path}") for _ in range(2))
    assert first.class_names == ("a", "b", "C")
    assert first.images.equal(second.images)


def split_image(left: int, right: int) -> Image.Image:
    array = np.full((16, 16), left, np.uint8)
    array[:, 8:] = right
    return Image.fromarray(array)


def palette_with_transparency(path: Path) -> None:
    image = flat("P", 1)
    image.putpalette([0, 0, 0, 9, 9, 9])
    image.save(path, transparency=1)


def palette_with_alpha_table(path: Path) -> None:
    image = flat("P", 1)
    image.putpalette([0, 0, 0, 0, 100, 200])
    image.save(path, transparency=bytes([255, 51]))


def palette_colour(path: Path) -> None:
    image = flat("P", 1)
    image.putpalette([0, 0, 0, 200, 30, 60])
    image.save(path)


def animation(path: Path) -> None:
    flat("RGB", (200, 30, 60)).save(path, save_all=True, append_images=[flat("RGB", (0, 0, 255))], duration=50)


@pytest.mark.parametrize(
    ("name", "save", "expected", "tolerance"),
    [
        ("1.png", lambda p: flat("1", 1).save(p), [255], 0),
        ("1.bmp", lambda p: flat("1", 0).save(p), [0], 0),
        ("L.png", lambda p: flat("L", 77).save(p), [77], 0),
        ("L.jpg", lambda p: flat("L", 77).save(p), [77], 1),
        ("L-key.png", lambda p: flat("L", 77).save(p, transparency=77), [255], 0),
        ("LA.png", lambda p: flat("LA", (77, 255)).save(p), [77], 0),
        ("LA-clear.png", lambda p: flat("LA", (77, 0)).save(p), [255], 0),
        ("P.gif", palette_colour, [200, 30, 60], 0),
        ("P.png", palette_colour, [200, 30, 60], 0),
        ("P-key.png", palette_with_transparency, [255], 0),
        ("P-key.gif", palette_with_transparency, [255], 0),
        ("P-alpha.png", palette_with_alpha_table, [204, 224, 244], 1),
        ("animated.gif", animation, [200, 30, 60], 0),
        ("animated.webp", animation, [200, 30, 60], 6),
        ("animated.png", animation, [200, 30, 60], 0),
        ("RGB.png", lambda p: flat("RGB", (1, 2, 3)).save(p), [1, 2, 3], 0),
        ("RGB-key.png", lambda p: flat("RGB", (1, 2, 3)).save(p, transparency=(1, 2, 3)), [255], 0),
        ("RGB-grey.png", lambda p: flat("RGB", (9, 9, 9)).save(p), [9], 0),
        ("RGBA.png", lambda p: flat("RGBA", (0, 0, 255, 127)).save(p), [128, 128, 255], 0),
        ("RGBA.webp", lambda p: flat("RGBA", (0, 0, 255, 0)).save(p, lossless=True), [255], 0),
        ("CMYK.jpg", lambda p: flat("CMYK", (0, 255, 255, 0)).save(p, quality=95), [255, 0, 0], 3),
        ("CMYK.tif", lambda p: flat("CMYK", (0, 255, 255, 0)).save(p), [255, 0, 0], 0),
        ("16.png", lambda p: flat("I;16", 128 * 257).save(p), [128], 0),
        ("16-max.png", lambda p: flat("I;16", 65535).save(p), [255], 0),
        ("16-low.png", lambda p: flat("I;16", 300).save(p), [1], 0),
        ("16.tiff", lambda p: flat("I;16", 128 * 257).save(p), [128], 0),
        ("16.pgm", lambda p: flat("I;16", 128 * 257).save(p), [128], 0),
        ("32.tiff", lambda p: flat("I", 65535).save(p), [255], 0),
        ("F.tiff", lambda p: flat("F", 0.2).save(p), [51], 0),
        ("YCbCr.tif", lambda p: flat("RGB", (200, 30, 60)).convert("YCbCr").save(p), [200, 30, 60], 3),
        ("LAB.tif", lambda p: flat("RGB", (200, 30, 60)).convert("LAB").save(p), [200, 30, 60], 6),
    ],
)
def test_every_mode_of_file_gives_the_expected_colour(
    tmp_path, name: str, save: Callable[[Path], None], expected: list[int], tolerance: int
):
    save(tmp_path / name)
    shutil.copy(tmp_path / name, tmp_path / f"copy-{name}")
    data = load_data(f"folder:{tmp_path}")
    assert data.images.shape == (2, len(expected), 16, 16)
    difference = data.images[1, :, 8, 8].int().numpy() - np.array(expected)
    assert np.abs(difference).max() <= tolerance


def test_one_coloured_pixel_makes_the_set_rgb_and_channels_can_be_forced(tmp_path):
    put(tmp_path / "a.png", flat("L", 10))
    coloured = flat("RGB", (10, 10, 10))
    coloured.putpixel((3, 3), (10, 10, 200))
    put(tmp_path / "b.png", coloured)
    assert load_data(f"folder:{tmp_path}").channels == 3
    assert load_data(f"folder:{tmp_path}", channels=1).images[1, 0, 3, 3] == 32  # 0.886 * 10 + 0.114 * 200
    (tmp_path / "b.png").unlink()
    put(tmp_path / "c.png", flat("RGB", (10, 10, 10)))
    assert load_data(f"folder:{tmp_path}").channels == 1
    assert load_data(f"folder:{tmp_path}", channels=3).channels == 3


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([(28, 28), (28, 28)], 28),
        ([(128, 128), (128, 128)], 128),
        ([(28, 28), (32, 32)], 64),
        ([(30, 30), (30, 30)], 64),
        ([(28, 32), (28, 32)], 64),
        ([(256, 256), (256, 256)], 64),
    ],
)
def test_size_is_kept_when_common_square_and_supported(tmp_path, sizes, expected):
    for i, size in enumerate(sizes):
        put(tmp_path / f"{i}.png", flat("L", 5, size))
    assert load_data(f"folder:{tmp_path}").image_size == expected
    assert load_data(f"folder:{tmp_path}", image_size=20).image_size == 20


@pytest.mark.parametrize(("orientation", "dark"), [(1, "left"), (3, "right"), (6, "top"), (8, "bottom")])
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
def test_exif_orientation_is_applied(tmp_path, orientation, dark, suffix):
    exif = Image.Exif()
    exif[0x0112] = orientation
    for name in ("a", "b"):
        put(tmp_path / f"{name}.{suffix}", split_image(0, 255), exif=exif)
    image = load_data(f"folder:{tmp_path}").images[0].float().mean(dim=0)
    halves = {"left": image[:, :8], "right": image[:, 8:], "top": image[:8], "bottom": image[8:]}
    assert min(halves, key=lambda side: float(halves[side].mean())) == dark


def test_large_jpegs_shrink_to_the_same_picture_as_png(tmp_path):
    ramp = np.linspace(0, 255, 1600)[None, :].repeat(1200, axis=0).astype(np.uint8)
    put(tmp_path / "a.png", Image.fromarray(ramp))
    put(tmp_path / "b.jpg", Image.fromarray(ramp), quality=95)
    png, jpeg = load_data(f"folder:{tmp_path}", image_size=32).images.int()
    assert int((png - jpeg).abs().max()) <= 2


def test_what_is_no_image_is_passed_over(tmp_path):
    for name in ("a", "b"):
        put(tmp_path / name / "1.png", flat("L", 5))
        for junk in (".DS_Store", "Thumbs.db", "README.txt", "._1.png", "notes", "paper.pdf", "labels.h5"):
            (tmp_path / name / junk).write_bytes(b"junk")
    for junk in ("README.txt", ".hidden.png"):
        (tmp_path / junk).write_bytes(b"junk")
    for hidden in (".git", "__MACOSX"):
        put(tmp_path / hidden / "x.png", flat("L", 5))
    data = load_data(f"folder:{tmp_path}")
    assert data.class_names == ("a", "b")
    assert len(data) == 2
    assert data.notes == ()


def test_pictures_that_can_not_be_read_are_passed_over_with_a_note(tmp_path):
    for name in ("a", "b"):
        put(tmp_path / name / "1.png", flat("L", 5))
        for photo in ("1.HEIC", "2.heic", "3.nef"):
            (tmp_path / name / photo).write_bytes(b"a photo")
    assert load_data(f"folder:{tmp_path}").notes == (
        "6 pictures of kinds that can't be read were passed over (4 .heic, 2 .nef); save them as PNG or JPEG",
    )
    for name in ("a", "b"):
        (tmp_path / name / "1.png").unlink()
    with pytest.raises(DataError, match=r"class 'a' has no image .*: 3 pictures of kinds .* \(2 .heic, 1 .nef\); save"):
        load_data(f"folder:{tmp_path}")


def test_one_picture_that_can_not_be_read_is_not_several(tmp_path):
    for name in ("1.png", "2.png"):
        put(tmp_path / name, flat("L", 5))
    (tmp_path / "1.HEIC").write_bytes(b"a photo")
    assert load_data(f"folder:{tmp_path}").notes == (
        "1 picture of kinds that can't be read was passed over (1 .heic); save it as PNG or JPEG",
    )


@pytest.mark.parametrize("image_size", [None, 16])
def test_all_unreadable_images_are_told_at_once(tmp_path, image_size: int | None):
    for i in range(10):
        put(tmp_path / f"{i}.png", flat("L", 5))
    for i in range(7):
        (tmp_path / f"torn-{i}.png").write_bytes(noise_png()[:30] if i % 2 else b"text")
    with pytest.raises(DataError) as caught:
        load_data(f"folder:{tmp_path}", image_size)
    text = str(caught.value)
    assert text.startswith(f"7 images can't be used: {tmp_path}/torn-0.png: can't be read as an image (no image format")
    assert text.endswith("; and 2 more; repair or remove them")
    assert [f"torn-{i}.png" in text for i in range(7)] == [True] * 5 + [False] * 2


def test_tiny_and_animated_images_are_told(tmp_path):
    for i in range(4):
        put(tmp_path / f"{i}.png", flat("L", 5, (32, 32)))
    put(tmp_path / "dot.png", flat("RGB", (1, 2, 3), (3, 2)))
    put(tmp_path / "just wide enough.png", flat("L", 5, (8, 8)))
    animation(tmp_path / "moving.gif")
    palette_colour(tmp_path / "still.gif")
    tiny, moving = load_data(f"folder:{tmp_path}", 32).notes
    assert tiny.startswith(f"1 image narrower or lower than a quarter of the 32 pixels wanted, e.g. {tmp_path}/dot.png")
    assert moving.startswith(f"1 image of several frames or pages, e.g. {tmp_path}/moving.gif: only the first is taken")


def test_class_names_are_composed_whatever_the_disk_holds(tmp_path):
    for name in ("A\u0308pfel", "\u00c4hren", "Birnen"):
        put(tmp_path / name / "1.png", flat("L", 5))
    data = load_data(f"folder:{tmp_path}")
    assert set(data.class_names) == {"\u00c4pfel", "\u00c4hren", "Birnen"}
    assert data.class_names[-2:] == ("\u00c4hren", "\u00c4pfel"), "in the order of the composed names"
    assert data.file_names[-1] == "A\u0308pfel/1.png"
    put(tmp_path / "\u00c4pfel" / "1.png", flat("L", 6))
    with pytest.raises(DataError, match="two folders called '\u00c4pfel'"):
        load_data(f"folder:{tmp_path}")


def test_links_to_images_and_folders_are_followed(tmp_path):
    put(tmp_path / "store" / "x" / "1.png", flat("L", 5))
    data = tmp_path / "data"
    put(data / "real" / "1.png", flat("L", 6))
    (data / "linked").symlink_to(tmp_path / "store" / "x", target_is_directory=True)
    (data / "real" / "2.png").symlink_to(tmp_path / "store" / "x" / "1.png")
    loaded = load_data(f"folder:{data}")
    assert loaded.class_names == ("linked", "real")
    assert loaded.images[:, 0, 0, 0].tolist() == [5, 6, 5]


def png_header(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(99))) + chunk(b"IEND", b"")
    )


NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16, 3)).astype(np.uint8))


def noise_png() -> bytes:
    buffer = io.BytesIO()
    NOISE.save(buffer, "png")
    return buffer.getvalue()


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
