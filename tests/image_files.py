"""Files of pictures."""

import io
from pathlib import Path

import numpy as np
from PIL import Image


def flat(mode: str, colour, size: tuple[int, int] = (16, 16)) -> Image.Image:
    return Image.new(mode, size, colour)


def put(path: Path, image: Image.Image, **options: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)


NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16, 3)).astype(np.uint8))


def noise_png() -> bytes:
    buffer = io.BytesIO()
    NOISE.save(buffer, "png")
    return buffer.getvalue()
