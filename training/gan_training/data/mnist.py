"""`mnist` and `fashion-mnist`, `#test` for the test images: 28 x 28 grey, 10 classes, downloaded on first use.

MNIST: Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits". Fashion-MNIST: H. Xiao,
K. Rasul, R. Vollgraf, 2017, arXiv:1708.07747. The files lie in a subfolder of the cache folder; files that somebody put
there by hand, in any spelling of `idx:DIR`, are used as they are.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from gan_training.errors import first_line
from gan_training.files.cache import cache_folder

from . import idx
from .download import fetch
from .image_data import DataError
from .source import ProgressFn, RawImages, Request


@dataclass(frozen=True)
class DownloadedSet:
    """A data set of IDX files on the web."""

    name: str
    """Of the source and of the subfolder, here and on `GAN_DATA_MIRROR`."""
    mirrors: tuple[str, ...]
    """Addresses of folders that hold the files, in the order in which they are tried."""
    sha256: Mapping[str, str]
    """Of each file, by its name."""
    class_names: tuple[str, ...] | None = None

    def load(self, request: Request) -> RawImages:
        """The split that `request.argument` names, `train` if it is empty; `DataError` if it can't be had."""
        split = request.argument or "train"
        try:
            folder = cache_folder() / self.name
            missing = not idx.is_complete(folder, split)
        except OSError as error:
            raise DataError(
                f"{self.name}: the cache folder can't be read ({first_line(error)}); set GAN_CACHE"
            ) from error
        if missing:
            self._download(folder, split, request.progress)
        raw = idx.load(replace(request, argument=f"{folder}#{split}"))
        return replace(raw, class_names=self.class_names)

    def _download(self, folder: Path, split: str, progress: ProgressFn) -> None:
        for name, checksum in self.sha256.items():
            if name.startswith(idx.SPLITS[split]):
                fetch([f"{mirror}{name}" for mirror in self._mirrors()], folder / name, checksum, progress)

    def _mirrors(self) -> tuple[str, ...]:
        own = os.environ.get("GAN_DATA_MIRROR")
        return (f"{own.rstrip('/')}/{self.name}/",) if own else self.mirrors


MNIST: Final = DownloadedSet(
    "mnist",
    ("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/"),
    {
        "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    },
)
FASHION_MNIST: Final = DownloadedSet(
    "fashion-mnist",
    (
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
    ),
    {
        "train-images-idx3-ubyte.gz": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        "train-labels-idx1-ubyte.gz": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        "t10k-images-idx3-ubyte.gz": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        "t10k-labels-idx1-ubyte.gz": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
    },
    # Published as "T-shirt/top", which no folder of samples could be named.
    ("T-shirt-top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
)
