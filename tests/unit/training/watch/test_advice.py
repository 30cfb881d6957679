"""Advice before the first step: each line is provoked by data made for it, and good data gives none."""

import dataclasses
import io
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from gan_training.config import TrainConfig
from gan_training.data import ImageData, load_data
from gan_training.watch.advice import advise

SHARE_TOLERANCE = 0.04  # of the share of duplicates: 3 standard errors of a sample of 1,000, and misses


def noise(n: int = 1200, channels: int = 1, size: int = 16) -> torch.Tensor:
    """Images that have nothing in common: as many, and as varied, as any rule asks for."""
    images = torch.randint(0, 256, (n, channels, size, size), generator=torch.Generator().manual_seed(3))
    return images.to(torch.uint8)


def labelled(images: torch.Tensor, counts: dict[str, int]) -> ImageData:
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(list(counts.values())))
    return ImageData(images[: len(labels)], labels, tuple(counts), "made")


def unlabelled(images: torch.Tensor) -> ImageData:
    return ImageData(images.contiguous(), None, (), "made")


def lines(data: ImageData, gan_type: str = "dcgan", **settings: Any) -> list[str]:
    return advise(data, TrainConfig.for_type(gan_type, "made", **settings))


def flat(*levels: int, n: int) -> torch.Tensor:
    """Images without contrast, their levels taking turns."""
    values = torch.tensor(levels, dtype=torch.uint8)[torch.arange(n) % len(levels)]
    return values[:, None, None, None].expand(n, 1, 16, 16).contiguous()


def discs(n: int = 1500, size: int = 28) -> torch.Tensor:
    """White discs, different in three ways: height, width and radius."""
    rng = torch.Generator().manual_seed(0)
    centres = 8 + 12 * torch.rand(n, 2, generator=rng)
    radii = 3 + 4 * torch.rand(n, 1, 1, generator=rng)
    edge = torch.arange(size)
    squares = (edge[:, None] - centres[:, :1, None]) ** 2 + (edge - centres[:, 1:, None]) ** 2  # (n, size, size)
    return (255 * (radii - squares.sqrt()).clamp(0, 1)).round().to(torch.uint8)[:, None]


@pytest.fixture(scope="module")
def digits() -> ImageData:
    return load_data("digits")


@pytest.mark.parametrize("gan_type", ["dcgan", "cgan", "acgan", "wgan"])
def test_good_data_gives_no_line(digits: ImageData, gan_type: str) -> None:
    assert lines(digits, gan_type) == []


GOOD = {
    "noise": lambda: unlabelled(noise()),
    "colour": lambda: unlabelled(noise(channels=3)),
    "1,000 images, 100 in each class": lambda: labelled(noise(), {str(i): 100 for i in range(10)}),
    "an imbalance of exactly 10": lambda: labelled(noise(1210), {"many": 1100, "few": 110}),
    "colours that only differ by more than JPEG's error": lambda: unlabelled(
        noise() // 2 + torch.tensor([0, 2, 4], dtype=torch.uint8)[None, :, None, None]
    ),
}


@pytest.mark.parametrize("name", GOOD)
def test_data_at_the_edge_gives_no_line(name: str) -> None:
    assert lines(GOOD[name](), "cgan" if "class" in name or "imbalance" in name else "dcgan") == []


BAD: dict[str, tuple[Callable[[], ImageData], str, dict[str, Any], list[str]]] = {
    "few images": (
        lambda: unlabelled(noise(999)),
        "dcgan",
        {},
        [
            "only 999 images: with fewer than about 1,000 a GAN often memorises them; add images, give --set "
            "translate=1, or look at the nearest training images of its samples (gan-eval) before you use any"
        ],
    ),
    "few images, shifted already": (
        lambda: unlabelled(noise(999)),
        "dcgan",
        {"translate": 1},
        [
            "only 999 images: with fewer than about 1,000 a GAN often memorises them; add images, or look at the "
            "nearest training images of its samples (gan-eval) before you use any"
        ],
    ),
    "few in one class": (
        lambda: labelled(noise(1299), {"a": 600, "b": 99, "c": 600}),
        "acgan",
        {},
        [
            "1 of 3 classes have fewer than 100 images: 'b' (99); their samples will be copies or all alike: add "
            "images, join or drop classes, or train without labels (--type dcgan)"
        ],
    ),
    "few in many classes, the fewest first": (
        lambda: labelled(noise(1300), {"a": 60, "b": 50, "c": 70, "d": 80, "e": 90, "f": 475, "g": 475}),
        "wgan",
        {"conditional": True},
        ["5 of 7 classes have fewer than 100 images: 'b' (50), 'a' (60), 'c' (70) and 2 more; "],
    ),
    "imbalance": (
        lambda: labelled(noise(1300), {"common": 1100, "some": 100, "rare": 100}),
        "cgan",
        {},
        [
            "class 'common' has 1,100 images and 'some' 100: images and labels are drawn as in the data, so only 7.7 % "
            "of what the nets see is 'some'; add images of it (in a folder, links count) or drop some of 'common'"
        ],
    ),
    "imbalance without the net seeing labels": (
        lambda: labelled(noise(1300), {"common": 1290, "r\nare": 10}),
        "dcgan",
        {},
        [r"class 'common' has 1,290 images and 'r\nare' 10: images and labels are drawn as in the data, so only 0"],
    ),
    "12 bits in 16": (
        lambda: unlabelled(noise() // 16),
        "dcgan",
        {},
        ["the brightest value of the images is 15 of 255: masks of 0 and 1, or 10 or 12 bits in files of 16? Scale"],
    ),
    "what was found while reading": (
        lambda: dataclasses.replace(unlabelled(noise()), notes=("2 pictures were passed over",)),
        "dcgan",
        {},
        ["2 pictures were passed over"],
    ),
    "one picture": (
        lambda: unlabelled(noise(1).expand(1500, -1, -1, -1)),
        "dcgan",
        {},
        ["the images are (nearly) all the same: 0.0 of 255 grey levels from their mean on average; check what --data"],
    ),
    "nearly one picture": (
        lambda: unlabelled(flat(100, 104, n=1500)),
        "dcgan",
        {},
        ["the images are (nearly) all the same: 2.0 of 255 grey levels from their mean on average; check what --data"],
    ),
    "grey as RGB": (
        lambda: unlabelled(noise().expand(-1, 3, -1, -1)),
        "dcgan",
        {},
        ["all 1,200 images are grey, stored as RGB: pass --channels 1 for smaller nets that can't miscolour"],
    ),
    "nearly grey": (
        lambda: unlabelled(noise() // 2 + torch.tensor([0, 1, 3], dtype=torch.uint8)[None, :, None, None]),
        "dcgan",
        {},
        ["all 1,200 images are grey"],
    ),
    "latent larger than the pixels": (
        lambda: unlabelled(noise()),
        "dcgan",
        {"latent_dim": 257},
        ["latent_dim 257 is more than the data can carry: 1,200 images of 256 values, with 99 % of their "],
    ),
    "latent larger than the images": (
        lambda: unlabelled(noise(50)),
        "dcgan",
        {"batch_size": 50},
        [
            "only 50 images",
            "latent_dim 64 is more than the data can carry: 50 images of 256 values, with 99 % of their "
            "variance in 48 principal components; the generator must learn to ignore the rest: use --set latent_dim=32",
        ],
    ),
    "batch larger than the data": (
        lambda: unlabelled(noise(130)),
        "dcgan",
        {"batch_size": 131},
        [
            "only 130 images",
            "batch_size 131 is larger than the data (130 images): each batch holds all of them, some more than once; "
            "use --batch-size 32",
        ],
    ),
    "two images": (lambda: unlabelled(noise(2)), "dcgan", {"latent_dim": 2, "batch_size": 2}, ["only 2 images"]),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_data_gives_its_line(name: str) -> None:
    make, gan_type, settings, expected = BAD[name]
    found = lines(make(), gan_type, **settings)
    assert len(found) == len(expected), found
    for line, start in zip(found, expected, strict=True):
        assert line.startswith(start)
        assert line.isprintable()


def test_images_of_two_flat_colours_carry_one_number_and_are_copies_of_each_other() -> None:
    copies, latent = lines(unlabelled(flat(30, 200, n=1500)))
    assert copies.startswith("about 100 % of the images have a near-identical copy in the data")
    assert "1,500 images of 256 values, with 99 % of their variance in 1 principal component;" in latent
    assert latent.endswith("use --set latent_dim=2")
    for enough in (1, 2):
        assert lines(unlabelled(flat(30, 200, n=1500)), latent_dim=enough) == [copies]


def test_blank_images_among_others_are_copies() -> None:
    images = noise(1300)
    images[1200:] = 0
    [line] = lines(unlabelled(images))
    share = float(line.removeprefix("about ").split(" % of the images have a near-identical copy")[0])
    assert abs(share / 100 - 100 / 1300) <= SHARE_TOLERANCE


def test_the_largest_latent_that_digits_carry(digits: ImageData) -> None:
    assert lines(digits, latent_dim=512) == []
    [line] = lines(digits, latent_dim=4096)
    assert line.startswith(
        "latent_dim 4,096 is more than the data can carry: 5,000 images of 784 values, with 99 % of their "
    )
    assert line.endswith("use --set latent_dim=64")


@pytest.mark.parametrize(("latent_dim", "said"), [(1, True), (2, True), (6, True), (12, False)])
def test_a_latent_too_small_for_digits(digits: ImageData, latent_dim: int, said: bool) -> None:
    """Published estimates of the intrinsic dimension of MNIST lie between 10 and 15."""
    found = lines(digits, latent_dim=latent_dim)
    assert len(found) == said
    if said:
        assert found[0].startswith(
            f"latent_dim {latent_dim} is too small: the images vary in about 12 independent ways"
        )
        assert found[0].endswith("use --set latent_dim=64")


@pytest.mark.parametrize("copies", [0, 500])
def test_the_intrinsic_dimension_of_discs_is_three(copies: int) -> None:
    images = torch.cat([discs(), discs()[:copies]])
    found = [line for line in lines(unlabelled(images), latent_dim=1) if line.startswith("latent_dim")]
    assert found == [
        "latent_dim 1 is too small: the images vary in about 3 independent ways, so samples will lack variety: use "
        "--set latent_dim=64"
    ]
    assert not any("latent_dim" in line for line in lines(unlabelled(images), latent_dim=3))


def reencoded(image: np.ndarray) -> np.ndarray:
    """(C, H, W) as JPEG of quality 80."""
    file = io.BytesIO()
    Image.fromarray(image[0]).save(file, "JPEG", quality=80)
    return np.asarray(Image.open(file))[None]


COPIES: dict[str, tuple[Callable[[np.ndarray], np.ndarray], bool]] = {
    "the same bytes": (lambda image: image, True),
    "JPEG of quality 80": (reencoded, True),
    "brighter": (lambda image: np.minimum(image, 235) + np.uint8(20), True),
    "one pixel down and right": (lambda image: np.roll(image, (1, 1), axis=(1, 2)), True),
    "mirrored": (lambda image: image[:, :, ::-1], False),
    "turned": (lambda image: np.rot90(image, axes=(1, 2)), False),
}


@pytest.mark.parametrize("kind", COPIES)
def test_copies_of_three_tenths_of_the_digits(digits: ImageData, kind: str) -> None:
    """Images 3,500 to 4,999 are copies of 0 to 1,499: 60 % of all have a partner."""
    copy, found = COPIES[kind]
    originals = digits.images.numpy()[np.random.default_rng(0).permutation(5000)[:3500]]
    copies = np.stack([copy(image) for image in originals[:1500]])
    data = unlabelled(torch.from_numpy(np.concatenate([originals, copies])))
    said = lines(data)
    if not found:
        assert said == []
        return
    [line] = said
    share, pair = line.split(" % of the images have a near-identical copy in the data, e.g. images ")
    assert abs(float(share.removeprefix("about ")) / 100 - 0.6) <= SHARE_TOLERANCE
    first, second = (int(index.replace(",", "")) for index in pair.split(" (counted")[0].split(" and "))
    assert second == first + 3500


def test_small_data_is_counted_and_not_estimated() -> None:
    images = noise(700, channels=3)
    images[650:] = images[100:150]
    assert lines(unlabelled(images))[1].startswith(
        "14 % of the images have a near-identical copy in the data, e.g. images 100 and 650 (counted from 0): "
    )


def test_copies_in_a_folder_are_named_by_their_files() -> None:
    images = noise(700, channels=3)
    images[650:] = images[100:150]
    data = dataclasses.replace(unlabelled(images), file_names=[f"cat/{i}.png" for i in range(700)])
    assert "e.g. cat/100.png and cat/650.png: the nets" in lines(data)[1]


def test_the_same_shapes_in_other_colours_are_no_copies() -> None:
    """Red and green squares have the same grey values."""
    shapes = noise(1200) * torch.ones(1, 3, 1, 1, dtype=torch.uint8)
    red, green = shapes.clone(), shapes.clone()
    red[:, 1:], green[:, [0, 2]] = 0, 0
    assert lines(unlabelled(torch.cat([red, green]))) == []


def test_advice_is_the_same_each_time_and_leaves_every_random_state_alone(digits: ImageData) -> None:
    doubled = unlabelled(torch.cat([digits.images, digits.images[:1000]]))
    torch.manual_seed(5)
    before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    first = lines(doubled, latent_dim=2)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.random.get_state()[1].tolist() == before[1]
    assert random.getstate() == before[2]
    torch.manual_seed(6)
    assert len(first) == 2
    assert lines(doubled, latent_dim=2) == first


def test_images_may_be_a_memory_map(digits: ImageData, tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", digits.images.numpy())
    mapped = torch.from_numpy(np.load(tmp_path / "images.npy", mmap_mode="r+"))
    assert lines(unlabelled(mapped), latent_dim=2) == lines(unlabelled(digits.images), latent_dim=2) != []
