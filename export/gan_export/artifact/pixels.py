"""Pixels on [-1, 1] as bytes, and how far apart images of them are."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def to_uint8(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """[-1, 1] -> 0..255, rounded half to even, in the steps of an artifact's graph."""
    scaled = pixels + 1.0
    scaled *= 127.5
    np.rint(scaled, out=scaled)
    np.clip(scaled, 0, 255, out=scaled)
    return scaled.astype(np.uint8)


def psnr_of(error: float) -> float:
    """In dB, of a root mean square error of pixels on [-1, 1]."""
    return 20 * float(np.log10(2 / max(error, 1e-12)))
