"""In which format a plan is answered, and what no format can hold."""

import json
from typing import Any

import numpy as np
import pytest

from gan_export.artifact import ImageSpec
from gan_serving.errors import InvalidRequestError
from gan_serving.formats.batch import Batch
from gan_serving.formats.encode import encode
from gan_serving.formats.negotiate import format_of
from gan_serving.requests.plan import parse_request

MAX_N = 100

IMAGE = ImageSpec(height=28, width=28, channels=1, mode="L", value_range=(-1.0, 1.0))


@pytest.mark.parametrize(
    ("body", "accept", "n", "wanted"),
    [
        ({}, "", 1, "json"),
        ({"format": "png"}, "image/webp", 1, "png"),
        ({"quality": 30}, "image/webp", 1, "webp"),
        ({"format": "jpeg", "quality": 1}, "", 4096, "jpeg"),
        ({"format": "webp"}, "", 4096, "webp"),
        ({"format": "webp", "columns": 1}, "", 546, "webp"),  # 546 * 30 + 2 = 16382
        ({"format": "jpeg", "columns": 1}, "", 2183, "jpeg"),  # 65492
        ({"format": "png", "columns": 1}, "", 4096, "png"),
    ],
)
def test_the_format_of_a_response(body: dict[str, Any], accept: str, n: int, wanted: str):
    assert format_of(parse_request(json.dumps(body).encode(), MAX_N), accept, n, IMAGE) == wanted


@pytest.mark.parametrize(
    ("body", "accept", "n", "param", "message"),
    [
        ({"quality": 30}, "", 1, "quality", "quality is 30, but the format is json; quality is for jpeg and webp"),
        ({"quality": 30, "format": "png"}, "image/webp", 1, "quality", "the format is png"),
        ({"quality": 30}, "image/png", 1, "quality", "the format is png"),
        ({"format": "webp", "columns": 1}, "", 547, "columns", "32 pixels wide and 16412 high, and webp ends at 16383"),
        ({"columns": 1000}, "image/webp", 4096, "columns", "30002 pixels wide and 152 high"),
        ({"format": "jpeg", "columns": 1}, "", 2184, "columns", "jpeg ends at 65500"),
    ],
)
def test_what_a_format_cannot_hold(body: dict[str, Any], accept: str, n: int, param: str, message: str):
    with pytest.raises(InvalidRequestError) as caught:
        format_of(parse_request(json.dumps(body).encode(), MAX_N), accept, n, IMAGE)
    assert message in caught.value.message
    assert caught.value.param == param


def test_the_largest_sheets_that_are_let_through_can_be_written():
    for body, n in (({"format": "webp", "columns": 1}, 546), ({"format": "jpeg", "columns": 1}, 2183)):
        request = parse_request(json.dumps(body).encode(), MAX_N)
        images = np.zeros((n, 1, 28, 28), np.uint8)
        batch = Batch("toy", images, None, None, None, request.columns)
        assert encode(batch, format_of(request, "", n, IMAGE)).body
