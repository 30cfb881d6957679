"""folder:DIR on real image files: layouts, file modes, and everything that can be wrong with them."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from image_files import flat, noise_png, put
from PIL import Image

from gan_training.data import DataError, load_data


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
