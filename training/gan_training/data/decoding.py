"""Encoded images of any format that Pillow reads -> the pixels of all, kept in the cache folder when they are many.

With no size asked for, images keep their own size when all have the same, square and supported one, and become
64 x 64 otherwise. With no channels asked for, they become grey when every pixel of every image is grey, whatever
their modes, and RGB otherwise.
"""

from __future__ import annotations

import hashlib
import io
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final, Protocol

import numpy as np
import PIL
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from gan_training.errors import first_line
from gan_training.specs import SUPPORTED_SIZES
from gan_training.words import counted

from . import pixel_cache
from .image_data import DataError
from .pixels import as_array, flatten, in_threads, square
from .source import Request, check_bytes

DEFAULT_SIZE: Final = 64
"""Pixels, for images that don't agree on a supported square size."""
CACHE_FROM_IMAGES: Final = 2000
CACHE_FROM_BYTES: Final = 100 * 2**20
"""So many images, or bytes of encoded images, take a second or more to decode: they are cached."""
MEMORY_BYTES: Final = 2**30
"""Decoded images that may go into memory where the cache can't be used."""

LOOKED_AT: Final = 100
"""Images whose stored size is looked up, to tell of resizing."""

_CACHE_VERSION: Final = 1  # of everything here and in pixels.py that changes the decoded images

LISTED: Final = 5
"""How many of the images that can't be read are named."""
TINY: Final = 4
"""An image's shorter side times this is less than the wanted size: enlarged, hardly anything is to be seen."""

_REPAIR: Final = "; repair or remove it"
_OF_SEVERAL: Final = ("GIF", "PNG", "TIFF", "WEBP")
"""Formats that may hold several frames or pages, each a picture of its own."""
_NOT_RASTER = {"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"}
"""Formats that Pillow only names, or renders by running another program: never opened."""


def _readable() -> tuple[tuple[str, ...], frozenset[str]]:
    """Pillow's formats that hold pixels, and the file extensions that belong to them."""
    Image.init()
    formats = tuple(name for name in Image.ID if name not in _NOT_RASTER)
    extensions = Image.registered_extensions().items()
    return formats, frozenset(suffix for suffix, name in extensions if name in formats)


_FORMATS, SUFFIXES = _readable()
"""`SUFFIXES`: the file extensions of formats that can be read, lower case, with their dot."""


class EncodedImages(Protocol):
    """Images as they are stored: PNG, JPEG, WebP, ... All methods are called from several threads."""

    def __len__(self) -> int: ...

    @property
    def stored_bytes(self) -> int:
        """Of all images together."""

    def name(self, index: int) -> str:
        """What an error calls image `index`."""

    def open(self, index: int) -> str | io.BytesIO:
        """Where image `index` is read from: a path, or its bytes. `DataError` where there is neither."""

    def identity(self) -> bytes:
        """Changes whenever the images do. Asked only of sets that are large enough for the cache."""


def read_images(where: str, images: EncodedImages, request: Request, notes: list[str]) -> NDArray[np.uint8]:
    """(N, H, W, C): every image decoded; `DataError` naming those at fault, or `where` when they don't fit.

    `notes`: gets a line for each kind of oddity among the images that are decoded now, not among those of the cache.
    """
    if len(images) < CACHE_FROM_IMAGES and images.stored_bytes < CACHE_FROM_BYTES:
        decoded = _in_memory(where, _Decoding(images, request, notes))
    else:
        decoded = _cached(where, images, request, notes)
    return decoded.transpose(0, 2, 3, 1)  # (N, C, H, W) -> (N, H, W, C), a view


class _Decoding:
    """What is to be decoded, and into which shape."""

    def __init__(self, images: EncodedImages, request: Request, notes: list[str]) -> None:
        self.images = images
        self.notes = notes
        self.channels = request.channels
        self.progress = request.progress
        size = request.image_size or _common_size(images) or DEFAULT_SIZE
        self.shape = (len(images), request.channels or 3, size, size)

    def fill(self, put: pixel_cache.PutFn) -> int:
        """Decode all images; how many channels of the shape are needed: 1 if nobody asked and all are grey."""
        count, channels, size, _ = self.shape
        is_grey = np.ones(count, np.bool_)
        failed: dict[int, DataError] = {}
        tiny: list[int] = []
        moving: list[int] = []

        def place(index: int) -> None:
            try:
                with _opened(self.images, index) as image:
                    if min(image.size) * TINY < size:
                        tiny.append(index)
                    if _is_moving(image):
                        moving.append(index)
                    array = as_array(_decode(image, size), channels)
            except DataError as error:
                failed[index] = error
                return
            is_grey[index] = (array == array[:, :, :1]).all()
            put(index, array.transpose(2, 0, 1))  # (H, W, C) -> (C, H, W)

        with _only_bombs():
            in_threads(place, count, lambda done: self.progress(done, count))
        if failed:
            raise _together([failed[index] for index in sorted(failed)])
        self.notes[:] = self._oddities(sorted(tiny), sorted(moving))
        return 1 if self.channels is None and is_grey.all() else channels

    def _oddities(self, tiny: list[int], moving: list[int]) -> list[str]:
        size, name = self.shape[-1], self.images.name
        lines: list[str] = []
        if tiny:
            lines.append(
                f"{counted(len(tiny), 'image')} narrower or lower than a quarter of the {size} pixels wanted, e.g. "
                f"{name(tiny[0])}: enlarged, such images are blurs; remove them, or give a smaller --image-size"
            )
        if moving:
            lines.append(
                f"{counted(len(moving), 'image')} of several frames or pages, e.g. {name(moving[0])}: only the first "
                "is taken; save the others that you want as images of their own"
            )
        return lines


def stored_sizes(images: EncodedImages) -> frozenset[tuple[int, int]]:
    """(width, height) of up to 100 images, evenly spaced: from their headers, or of the pixels where those lie."""
    count = len(images)
    looked_at = range(0, count, -(-count // LOOKED_AT))
    sizes: set[tuple[int, int]] = set()
    with _only_bombs():
        in_threads(lambda index: sizes.add(_dimensions(images, looked_at[index])), len(looked_at))
    return frozenset(sizes)


def _in_memory(where: str, decoding: _Decoding) -> NDArray[np.uint8]:
    check_bytes(where, decoding.shape)
    images = np.empty(decoding.shape, np.uint8)
    kept = decoding.fill(images.__setitem__)
    return images if kept == images.shape[1] else images[:, :kept].copy()


def _cached(where: str, images: EncodedImages, request: Request, notes: list[str]) -> NDArray[np.uint8]:
    asked = f"{_CACHE_VERSION} {PIL.__version__} {request.image_size} {request.channels}"
    key = hashlib.sha256(asked.encode() + b"\0" + images.identity()).hexdigest()[:32]
    stored = pixel_cache.find(key, len(images))
    if stored is not None:
        return stored
    decoding = _Decoding(images, request, notes)
    try:
        return pixel_cache.store(key, decoding.shape, decoding.fill)
    except OSError as error:
        needed = math.prod(decoding.shape)
        if needed > MEMORY_BYTES:
            raise DataError(
                f"{where}: the decoded images take {needed / 2**30:.1f} GiB, and the cache can't hold them "
                f"({error.strerror or error}); set GAN_CACHE to a folder on a disk with more room, raise "
                "GAN_CACHE_GIB, or use a smaller --image-size"
            ) from error
        return _in_memory(where, decoding)


def _common_size(images: EncodedImages) -> int | None:
    """The width and height of all images when that is one supported number, read from the headers."""
    sizes: set[tuple[int, int]] = set()

    def look(index: int) -> None:
        with suppress(DataError):  # decoding finds all that can't be read
            sizes.add(_dimensions(images, index))

    with _only_bombs():
        in_threads(look, len(images))
    if len(sizes) != 1:
        return None
    width, height = sizes.pop()
    return width if width == height and width in SUPPORTED_SIZES else None


@contextmanager
def _only_bombs() -> Iterator[None]:
    """Pillow warns of oddities in metadata, which doesn't concern the pixels; suspected bombs have to stop here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def _dimensions(images: EncodedImages, index: int) -> tuple[int, int]:
    with _opened(images, index) as image:
        return image.size


def _decode(image: Image.Image, size: int) -> Image.Image:
    """The image as `size` x `size`, mode L or RGB."""
    # JPEG can decode at a fraction of its size; twice the target leaves the last step to the resize.
    image.draft(None, (2 * size, 2 * size))
    return square(flatten(image), size)


def _is_moving(image: Image.Image) -> bool:
    """Whether there is more than the first frame or page. Of a phone's JPEG the rest is no picture of its own."""
    with suppress(Exception):  # what is damaged there doesn't concern the first frame
        return image.format in _OF_SEVERAL and bool(getattr(image, "is_animated", False))
    return False


def _together(errors: list[DataError]) -> DataError:
    """One error for all images that can't be read."""
    if len(errors) == 1:
        return errors[0]
    faults = "; ".join(str(error).removesuffix(_REPAIR) for error in errors[:LISTED])
    more = f"; and {len(errors) - LISTED:,} more" if len(errors) > LISTED else ""
    return DataError(f"{len(errors):,} images can't be used: {faults}{more}; repair or remove them")


@contextmanager
def _opened(images: EncodedImages, index: int) -> Iterator[Image.Image]:
    """Decoders meet bytes of any kind here and raise errors of any kind: all mean the same to the user."""
    source = images.open(index)
    try:
        with Image.open(source, formats=_FORMATS) as image:
            yield image
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        name = images.name(index)
        raise DataError(f"{name}: too many pixels to decode safely ({error}); shrink or remove it") from error
    except Exception as error:
        reason = "no image format is recognised" if isinstance(error, UnidentifiedImageError) else first_line(error)
        name = images.name(index)
        raise DataError(f"{name}: can't be read as an image ({reason}){_REPAIR}") from error
