"""The rule of the Accept header, on offers of the test's own."""

import pytest

from gan_serving.formats.negotiate import choose

OFFERS = {"image/png": "png", "image/webp": "webp", "text/plain": "text"}


@pytest.mark.parametrize(
    ("accept", "default", "chosen"),
    [
        ("image/*", "webp", "webp"),  # the default is in the range, wherever it stands in the offers
        ("image/*", "png", "png"),
        ("image/*", "text", "png"),  # else the first of them
        ("image/png, image/*", "webp", "png"),  # what is named first is liked better than the default
        ("image/*, image/png", "webp", "webp"),
        ("image/*;q=0.5, text/*", "webp", "text"),
        ("video/*", "webp", "webp"),
    ],
)
def test_within_a_range_the_default_comes_first(accept: str, default: str, chosen: str):
    assert choose(accept, OFFERS, default) == chosen
