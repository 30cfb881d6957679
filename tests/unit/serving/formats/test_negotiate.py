"""The rule of the Accept header, on offers of the test's own and on the formats that there are."""

import pytest

from gan_serving.formats.negotiate import choose, choose_format

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


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        ("", "json"),
        ("*/*", "json"),
        ("application/json", "json"),
        ("image/png", "png"),
        ("IMAGE/PNG", "png"),
        (" image/png ;q=0.8, application/zip", "zip"),
        ("text/html, application/zip;level=1, image/png", "zip"),
        ("image/webp,image/*,*/*;q=0.8", "webp"),
        ("application/x-npy", "npy"),
        ("application/x-ndjson", "ndjson"),
        ("image/jpeg", "jpeg"),
        ("application/zip", "zip"),
        # the highest q wins, and the first among equals
        ("image/png;q=0.5, image/webp;q=0.9, image/jpeg;q=0.7", "webp"),
        ("image/png;q=0.5, image/webp;q=0.5", "png"),
        ("image/webp;q=0.5, image/png;q=0.5", "webp"),
        ("application/zip;q=0.9, */*", "json"),
        ("application/zip, */*;q=0.1", "zip"),
        ("application/zip;q=0.001, text/html", "zip"),
        ("image/png; Q = 0.2, application/x-npy;q=.3", "npy"),
        # ranges
        ("image/*", "png"),
        ("image/*;q=0.5, application/*;q=0.6", "json"),
        ("image/*, image/png;q=0.5", "webp"),  # the more specific range says what png is worth
        ("image/*, image/png;q=0, image/webp;q=0", "jpeg"),
        ("text/html, */*;q=0.2", "json"),
        ("*/*, application/json;q=0", "png"),
        # a browser's address bar, and its image element
        ("text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8", "webp"),
        ("image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8", "webp"),
        ("image/apng,image/*;q=0.8", "png"),
        # nothing that we have, or that can be read
        ("text/html", "json"),
        ("image/pngx", "json"),
        ("image/png;q=0", "json"),
        ("image/png;q=1.5, application/zip;q=0.1", "zip"),
        ("image/png;q=-1, application/zip;q=0.1", "zip"),
        ("image/png;q=nan, application/zip;q=0.1", "zip"),
        ("image/png;q=, application/zip;q=0.1", "zip"),
        ("image/png;q=" + "9" * 50_000, "json"),
        (",,;;, ,image/png", "png"),
        ("image/png" + "," * 100_000, "png"),
        ("\x00\xff", "json"),
    ],
)
def test_the_accept_header(accept: str, wanted: str):
    assert choose_format(accept) == wanted
