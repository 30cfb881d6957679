"""Frames to animations: every frame is shown, for as long as was asked, and the same bytes each time."""

import io
import itertools

import numpy as np
import pytest
from PIL import Image, ImageSequence

from gan_serving.formats.animate import AbandonedError, encode_animation

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
    encoded = encode_animation(images, wanted, 10)
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


@pytest.mark.parametrize("wanted", ["gif", "webp"])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_same_frames_give_the_same_bytes(wanted, channels: int):
    first, again = (encode_animation(moving(20, channels), wanted, 12).body for _ in range(2))
    assert first == again
    other = moving(20, channels)
    other[7, :, 3, 3] ^= 128
    assert encode_animation(other, wanted, 12).body != first


@pytest.mark.parametrize("wanted", ["gif", "webp"])
@pytest.mark.parametrize("channels", [1, 3])
def test_an_animation_ends_between_frames_once_nobody_waits_for_it(wanted, channels: int):
    looks = itertools.chain([False] * 7, itertools.repeat(True))
    with pytest.raises(AbandonedError):
        encode_animation(moving(20, channels), wanted, 12, is_abandoned=lambda: next(looks))


@pytest.mark.parametrize(("fps", "gif"), [(1, 1000), (12, 5000 / 60), (30, 2000 / 60), (50, 20), (60, 20)])
def test_frames_per_second(fps: int, gif: float):
    """Rounding doesn't add up, and no frame of a gif is shorter than browsers take seriously."""
    frames = moving(60, 1)
    durations = shown(encode_animation(frames, "gif", fps).body, 1)[1]
    assert min(durations) >= 20
    assert sum(durations) == pytest.approx(60 * gif, abs=10)
    assert sum(shown(encode_animation(frames, "webp", fps).body, 1)[1]) == pytest.approx(60_000 / fps, abs=1)


def test_a_webp_with_a_quality_is_smaller_and_near():
    grain = np.random.default_rng(0).integers(0, 16, (20, 3, 24, 32))
    images = (moving(200, 3)[::10] // 2 + grain).astype(np.uint8)  # frames that are nearly alike would be joined
    exact, lossy = (encode_animation(images, "webp", 12, quality).body for quality in (None, 50))
    assert len(lossy) < len(exact)
    frames = shown(lossy, 3)[0]
    assert 0 < np.abs(frames.astype(float) - images).mean() < PALETTE_ERROR
