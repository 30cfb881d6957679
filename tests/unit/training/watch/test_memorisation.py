"""Copies of a training set that has hardly more images than are looked at for each sample."""

import pytest
import torch

from gan_training.data import ImageData
from gan_training.watch.memorisation import CANDIDATES, MemorisationCheck


def test_copies_are_found_however_often_an_image_is_in_the_set():
    drawn = torch.randint(0, 256, (20, 1, 16, 16), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    check = MemorisationCheck(ImageData(drawn.repeat(CANDIDATES + 8, 1, 1, 1), None, (), "oversampled"))
    ratio, nearest = check.check(drawn[:5])
    assert ratio == 0
    assert nearest.indices.tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("images", [2, 30, CANDIDATES, CANDIDATES + 1])
def test_copies_of_a_small_set_are_found(images: int):
    rng = torch.Generator().manual_seed(0)
    drawn = torch.randint(0, 256, (images + 10, 1, 16, 16), generator=rng, dtype=torch.uint8)
    known, new = drawn[:images], drawn[images:]
    check = MemorisationCheck(ImageData(known, None, (), "small"))
    ratio, nearest = check.check(known[[1, 0, 1]])
    assert ratio == 0
    assert nearest.indices.tolist() == [1, 0, 1]
    assert 0.7 < check.check(new)[0] < 1.4
