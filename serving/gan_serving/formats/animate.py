"""Frames -> animated GIF or WebP, contact sheet or array. The same frames give the same bytes."""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gan_client.types import AnimationFormat
from gan_export.artifact.sheet import to_picture

from .batch import Batch
from .encode import Encoded, encode, webp_options

SLOW_FILM_BYTES: Final = 2**20
"""Of frames, from which on a film is not encoded among what takes a moment: one of 1 MiB took 0.4 s as webp of 28x28,
0.1 s of 64x64."""
_GIF_TICK: Final = 10  # milliseconds: a GIF counts time in hundredths of a second
_GIF_SHORTEST: Final = 20  # milliseconds; browsers take less for a mistake and show such a frame for 100
_PALETTE_FRAMES: Final = 32  # frames, spread over the whole, that the colours of a gif are chosen from


class AbandonedError(Exception):
    """Nobody waits for the animation any more."""


def is_animated(wanted: AnimationFormat) -> bool:
    """Whether frames become a film, which may take seconds, and no sheet or array."""
    return wanted in ("gif", "webp")


def encode_animation(
    frames: Batch, wanted: AnimationFormat, fps: int, is_abandoned: Callable[[], bool] = lambda: False
) -> Encoded:
    """Frames in one of the formats of /interpolate; animations repeat for ever.

    All are exact but for a webp with a quality, and a gif of RGB frames, which has 256 colours.

    Args:
        frames: (N, C, H, W) of them.
        wanted: the format.
        fps: frames per second.
        is_abandoned: asked before each frame of an animation.

    Raises:
        AbandonedError: it was.
    """
    if wanted == "gif":
        pictures, options = _gif_pictures(frames.images)
        shown = _durations(len(frames), fps, _GIF_TICK, _GIF_SHORTEST)
    elif wanted == "webp":
        pictures, options = [to_picture(image) for image in frames.images], webp_options(frames.quality)
        shown = _durations(len(frames), fps)
    else:
        return encode(frames, wanted)
    seek = _stopping(is_abandoned)
    for picture in pictures:
        picture.seek = seek  # type: ignore[assignment,method-assign]  # Pillow calls it before it encodes each of them
    buffer = io.BytesIO()
    first, *others = pictures
    first.save(buffer, format=wanted.upper(), save_all=True, append_images=others, duration=shown, loop=0, **options)
    return Encoded(buffer.getvalue(), f"image/{wanted}")


def _stopping(is_abandoned: Callable[[], bool]) -> Callable[[int], None]:
    """What `Image.seek` does in a picture of one frame, as long as somebody waits for it."""

    def seek(frame: int) -> None:
        if is_abandoned():
            raise AbandonedError
        if frame != 0:
            raise EOFError

    return seek


def _gif_pictures(images: NDArray[np.uint8]) -> tuple[list[Image.Image], dict[str, Any]]:
    """Pictures of at most 256 colours, and how Pillow is to write them.

    RGB frames share one palette: a frame's own would flicker, and a palette by median cut takes 12 ms a frame.
    """
    pictures = [to_picture(image) for image in images]
    if images.shape[1] == 1:
        return pictures, {"optimize": False}  # six times as fast, and 3 % larger
    sample = np.unique(np.linspace(0, len(images) - 1, _PALETTE_FRAMES).astype(int))
    mosaic = to_picture(np.concatenate([*images[sample]], axis=1))  # frame under frame: (C, k * H, W)
    palette = mosaic.quantize(256, method=Image.Quantize.FASTOCTREE)
    return [picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures], {"optimize": True}


def _durations(n: int, fps: int, tick: int = 1, shortest: int = 1) -> list[int]:
    """Milliseconds that each frame is shown, in whole ticks; their rounding doesn't add up."""
    edges = [round(i * 1000 / fps / tick) * tick for i in range(n + 1)]
    return [max(shortest, later - earlier) for earlier, later in itertools.pairwise(edges)]
