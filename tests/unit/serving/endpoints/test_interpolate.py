"""Frames -> animations, and POST /interpolate as a real ASGI application: key frames are /generate's images."""

import io
import itertools
from typing import Any

import httpx
import numpy as np
import pytest
from over_http import MAX_N, Toy, over_http
from PIL import Image, ImageSequence

from gan_client.types import ErrorBody, InterpolateRequest
from gan_export.artifact import Manifest
from gan_serving.formats.animate import AbandonedError, encode_animation
from gan_serving.formats.batch import Batch
from gan_serving.formats.encode import encode
from gan_serving.requests.path import make_path

PALETTE_ERROR = 16.0  # mean absolute error that 256 colours leave of smooth frames


def moving(n: int, channels: int) -> np.ndarray:
    """(n, C, 24, 32): slopes that move."""
    across, down = np.meshgrid(np.arange(32), np.arange(24))
    frames = [[across * 6 + i, down * 8 + 2 * i, across + down + 3 * i] for i in range(n)]
    return (np.array(frames)[:, :channels] % 256).astype(np.uint8)


def shown(body: bytes, channels: int) -> tuple[np.ndarray, list[int]]:
    """Frames (n, C, H, W), and the milliseconds of each."""
    with Image.open(io.BytesIO(body)) as picture:
        frames, durations = [], []
        for frame in ImageSequence.Iterator(picture):
            array = np.asarray(frame.convert("L" if channels == 1 else "RGB"))
            frames.append(array.reshape(*array.shape[:2], channels).transpose(2, 0, 1))
            durations.append(frame.info["duration"])
    return np.stack(frames), durations


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("wanted", ["gif", "webp"])
def test_animations_show_every_frame_and_repeat(wanted, channels: int):
    images = moving(30, channels)
    encoded = encode_animation(Batch("toy", images, None, None, None, None), wanted, 10)
    assert encoded.media_type == f"image/{wanted}"
    frames, durations = shown(encoded.body, channels)
    assert durations == [100] * 30
    if wanted == "gif" and channels == 3:
        assert frames.shape == images.shape
        assert np.abs(frames.astype(float) - images).mean() < PALETTE_ERROR
    else:
        assert np.array_equal(frames, images)
    with Image.open(io.BytesIO(encoded.body)) as picture:
        assert picture.info["loop"] == 0


@pytest.mark.parametrize("wanted", ["gif", "webp", "png", "npy"])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_same_frames_give_the_same_bytes(wanted, channels: int):
    first, again = (
        encode_animation(Batch("toy", moving(20, channels), None, None, None, 5), wanted, 12).body for _ in range(2)
    )
    assert first == again
    other = moving(20, channels)
    other[7, :, 3, 3] ^= 128
    assert encode_animation(Batch("toy", other, None, None, None, 5), wanted, 12).body != first


@pytest.mark.parametrize("wanted", ["gif", "webp"])
@pytest.mark.parametrize("channels", [1, 3])
def test_an_animation_ends_between_frames_once_nobody_waits_for_it(wanted, channels: int):
    looks = itertools.chain([False] * 7, itertools.repeat(True))
    with pytest.raises(AbandonedError):
        encode_animation(Batch("toy", moving(20, channels), None, None, None, 5), wanted, 12, lambda: next(looks))


@pytest.mark.parametrize(("fps", "gif"), [(1, 1000), (12, 5000 / 60), (30, 2000 / 60), (50, 20), (60, 20)])
def test_frames_per_second(fps: int, gif: float):
    """Rounding doesn't add up, and no frame of a gif is shorter than browsers take seriously."""
    frames = Batch("toy", moving(60, 1), None, None, None, None)
    durations = shown(encode_animation(frames, "gif", fps).body, 1)[1]
    assert min(durations) >= 20
    assert sum(durations) == pytest.approx(60 * gif, abs=10)
    assert sum(shown(encode_animation(frames, "webp", fps).body, 1)[1]) == pytest.approx(60_000 / fps, abs=1)


def test_a_webp_with_a_quality_is_smaller_and_near():
    grain = np.random.default_rng(0).integers(0, 16, (20, 3, 24, 32))
    images = (moving(200, 3)[::10] // 2 + grain).astype(np.uint8)  # frames that are nearly alike would be joined
    exact, lossy = (
        encode_animation(Batch("toy", images, None, None, None, None, quality), "webp", 12).body
        for quality in (None, 50)
    )
    assert len(lossy) < len(exact)
    frames = shown(lossy, 3)[0]
    assert 0 < np.abs(frames.astype(float) - images).mean() < PALETTE_ERROR


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
