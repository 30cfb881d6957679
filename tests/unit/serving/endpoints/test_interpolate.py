"""POST /interpolate as a real ASGI application: key frames are /generate's images."""

import io
from typing import Any

import httpx
import numpy as np
import pytest
from over_http import MAX_N, Toy, over_http
from PIL import Image

from gan_client.types import ErrorBody, InterpolateRequest
from gan_export.artifact import Manifest
from gan_serving.formats.batch import Batch
from gan_serving.formats.encode import encode
from gan_serving.requests.path import make_path


def arrays(response: httpx.Response) -> np.ndarray:
    assert response.status_code == 200, response.text
    return np.load(io.BytesIO(response.content), allow_pickle=False)


def test_key_frames_are_the_images_of_generate_to_the_byte(digits: Manifest):
    async def scenario(client: httpx.AsyncClient) -> None:
        for more, each in (({}, [{}, {}, {}]), ({"label": [4, 5, 6]}, [{"label": 4}, {"label": 5}, {"label": 6}])):
            ask = {"seeds": [5, 80, 3], "steps": 7, "format": "npy", **more}
            frames = arrays(await client.post("/interpolate", json=ask))
            assert frames.shape == (15, 8, 8, 1)
            for i, seed in enumerate(ask["seeds"]):
                body = {"seed": seed, "format": "png", **each[i]}
                alone = await client.post("/generate", json=body)
                frame = Batch("toy", frames[i * 7].transpose(2, 0, 1)[None], None, None, None, None)
                assert encode(frame, "png").body == alone.content

    over_http(digits, scenario)


def test_a_long_path_goes_through_the_queue_in_batches(digits: Manifest):
    async def scenario(client: httpx.AsyncClient) -> None:
        response = await client.post("/interpolate", json={"seeds": [1, 2], "steps": 50, "format": "npy", "label": 0})
        path = make_path(InterpolateRequest(seeds=[1, 2], steps=50, label=0), digits, MAX_N)
        assert np.array_equal(arrays(response).transpose(0, 3, 1, 2), Toy().run(*path.part(0, 51)))
        assert response.headers["x-gan-model"] == "toy"
        assert response.headers["x-gan-frames"] == "51"

    batches = over_http(digits, scenario)
    assert sum(batches) == 51
    assert max(batches) <= 8


@pytest.mark.parametrize(
    ("body", "accept", "media_type"),
    [
        ({}, "*/*", "image/gif"),
        ({}, "image/*", "image/gif"),
        ({}, "text/html", "image/gif"),
        ({}, "image/png;q=0.5, image/webp", "image/webp"),
        ({"format": "png"}, "image/webp", "image/png"),
        ({}, "application/x-npy", "application/x-npy"),
    ],
)
def test_the_format(digits: Manifest, body, accept: str, media_type: str):
    async def scenario(client: httpx.AsyncClient) -> None:
        ask = {"seeds": [1, 2], "steps": 2, "columns": 3} | body
        response = await client.post("/interpolate", json=ask, headers={"accept": accept})
        assert response.headers["content-type"] == media_type
        if media_type == "image/png":
            assert Image.open(io.BytesIO(response.content)).size == (32, 12)

    over_http(digits, scenario)


def test_errors_have_the_one_shape_and_nothing_is_queued(digits: Manifest):
    async def scenario(client: httpx.AsyncClient) -> None:
        for body, param in (
            ({"seeds": [1]}, "seeds"),
            ({"seeds": [1, 2], "quality": 3}, "quality"),
            ({"seeds": [1, 2], "quality": 3, "format": "npy"}, "quality"),
            ({"seeds": [1, 2], "steps": 200}, "steps"),
        ):
            response = await client.post("/interpolate", json=body, headers={"x-request-id": "id-7"})
            assert response.status_code == 400
            error = ErrorBody.model_validate_json(response.content)
            assert (error.error.code, error.error.param, error.request_id) == ("invalid_request", param, "id-7")

    assert over_http(digits, scenario) == []


@pytest.mark.parametrize(("path", "body"), [("/interpolate", {"seeds": [1, 2]}), ("/generate", {"n": 16})])
def test_what_is_refused_for_overload_is_not_charged(digits: Manifest, path: str, body: dict[str, Any]):
    async def scenario(client: httpx.AsyncClient) -> None:
        for _ in range(3):
            response = await client.post(path, json=body)
            assert response.status_code == 429
            assert response.json()["error"]["code"] == "queue_full", "it owes images that nobody drew"

    assert over_http(digits, scenario, waiting=1000, rate_images=1) == []


def test_frames_that_would_not_fit_into_memory_are_refused(digits: Manifest):
    large = digits.model_copy(update={"image": digits.image.model_copy(update={"height": 2048, "width": 2048})})

    async def scenario(client: httpx.AsyncClient) -> None:
        response = await client.post("/interpolate", json={"seeds": [1, 2], "steps": 64})
        assert response.status_code == 400
        message = response.json()["error"]["message"]
        assert message.startswith("the path has 65 frames, but of toy's size a request is for at most 64;")

    assert over_http(large, scenario) == []
