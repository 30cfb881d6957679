"""Frames -> animated GIF or WebP. The same frames give the same bytes."""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gan_export.artifact.sheet import to_picture

from .encode import Encoded
from .picture import webp_options

SLOW_FILM_BYTES: Final = 2**20
"""Of frames, from which on a film is not encoded among what takes a moment: one of 1 MiB took 0.4 s as webp of 28x28,
0.1 s of 64x64."""
_GIF_TICK: Final = 10  # milliseconds: a GIF counts time in hundredths of a second
_GIF_SHORTEST: Final = 20  # milliseconds; browsers take less for a mistake and show such a frame for 100
_PALETTE_FRAMES: Final = 32  # frames, spread over the whole, that the colours of a gif are chosen from


class AbandonedError(Exception):
    """Nobody waits for the animation any more."""


def encode_animation(
    frames: NDArray[np.uint8],
    wanted: Literal["gif", "webp"],
    fps: int,
    quality: int | None = None,
    is_abandoned: Callable[[], bool] = lambda: False,
) -> Encoded:
    """Frames as a film that repeats for ever, exact but for a webp with a quality, and a gif of RGB frames, which has
    256 colours.

    Args:
        frames: (N, C, H, W) of them.
        wanted: the format.
        fps: frames per second.
        quality: of a webp, 1 to 100; None: lossless.
        is_abandoned: asked before each frame.

    Raises:
        AbandonedError: it was.
    """
    if wanted == "gif":
        draw, options = _gif_drawing(frames)
        options["duration"] = _durations(len(frames), fps, _GIF_TICK, _GIF_SHORTEST)
    else:
        draw, options = to_picture, webp_options(quality)
        options["duration"] = _durations(len(frames), fps)
    buffer = io.BytesIO()
    _Film(frames, draw, is_abandoned).save(buffer, format=wanted.upper(), save_all=True, loop=0, **options)
    return Encoded(buffer.getvalue(), f"image/{wanted}")


class _Film(Image.Image):
    """Frames as Pillow knows a file of several: one is a picture at a time, while somebody waits for it."""

    is_animated = True

    def __init__(
        self,
        frames: NDArray[np.uint8],
        draw: Callable[[NDArray[np.uint8]], Image.Image],
        is_abandoned: Callable[[], bool],
    ) -> None:
        super().__init__()
        self._frames, self._draw, self._is_abandoned = frames, draw, is_abandoned
        self.n_frames = len(frames)
        self._at = -1
        self.seek(0)

    def seek(self, frame: int) -> None:
        if self._is_abandoned():
            raise AbandonedError
        if frame >= self.n_frames:
            raise EOFError
        if frame != self._at:
            picture = self._draw(self._frames[frame])
            self.im, self._mode, self._size, self.palette = picture.im, picture.mode, picture.size, picture.palette
            self._at = frame

    def tell(self) -> int:
        return self._at


def _gif_drawing(images: NDArray[np.uint8]) -> tuple[Callable[[NDArray[np.uint8]], Image.Image], dict[str, Any]]:
    """How a frame becomes a picture of at most 256 colours, and how Pillow is to write them.

    RGB frames share one palette: a frame's own would flicker, and a palette by median cut takes 12 ms a frame.
    """
    if images.shape[1] == 1:
        return to_picture, {"optimize": False}  # six times as fast, and 3 % larger
    sample = np.unique(np.linspace(0, len(images) - 1, _PALETTE_FRAMES).astype(int))
    mosaic = to_picture(np.concatenate([*images[sample]], axis=1))  # frame under frame: (C, k * H, W)
    palette = mosaic.quantize(256, method=Image.Quantize.FASTOCTREE)

    def draw(image: NDArray[np.uint8]) -> Image.Image:
        return to_picture(image).quantize(palette=palette, dither=Image.Dither.NONE)

    return draw, {"optimize": True}


def _durations(n: int, fps: int, tick: int = 1, shortest: int = 1) -> list[int]:
    """Milliseconds that each frame is shown, in whole ticks; their rounding doesn't add up."""
    edges = [round(i * 1000 / fps / tick) * tick for i in range(n + 1)]
    return [max(shortest, later - earlier) for earlier, later in itertools.pairwise(edges)]
