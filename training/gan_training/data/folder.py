"""`folder:DIR`: image files, one subfolder per class, or all directly in DIR (unlabelled).

Classes are the subfolders' names in natural order (2 before 10). Hidden entries and files whose extension is
no image's are passed over; a file that claims to be an image and isn't stops the load. Folders are read one
level deep, links are followed. With no size asked for, images keep their own size when all have the same,
square and supported one, and become 64 x 64 otherwise. With no channels asked for, they become grey when
every pixel of every image is grey, whatever the files' modes, and RGB otherwise.

The decoded images of a large folder are kept in the cache folder. They are decoded anew when a file was added,
removed, renamed or written to, when the folder has another path, or when Pillow has another version.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
import stat
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import PIL
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from gan_training.specs import SUPPORTED_SIZES

from . import pixel_cache
from .image_data import DataError
from .paths import directory, regular_file
from .pixels import as_array, flatten, in_threads, square
from .source import RawImages, Request, check_bytes, describe

DEFAULT_SIZE = 64
"""Pixels, for images that don't agree on a supported square size."""
CACHE_FROM_IMAGES: Final = 2000
CACHE_FROM_BYTES: Final = 100 * 2**20
"""Folders of so many images, or bytes of image files, take a second or more to decode: they are cached."""
MEMORY_BYTES: Final = 2**30
"""Decoded images that may go into memory where the cache can't be used."""

_CACHE_VERSION: Final = 1  # of everything here and in pixels.py that changes the decoded images

_NOT_RASTER = {"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"}
"""Formats that Pillow only names, or renders by running another program: never opened."""


def _readable() -> tuple[tuple[str, ...], frozenset[str]]:
    """Pillow's formats that hold pixels, and the file extensions that belong to them."""
    Image.init()
    formats = tuple(name for name in Image.ID if name not in _NOT_RASTER)
    extensions = Image.registered_extensions().items()
    return formats, frozenset(suffix for suffix, name in extensions if name in formats)


_FORMATS, _SUFFIXES = _readable()


class _ImageFile(NamedTuple):
    path: str
    size: int  # bytes
    times: tuple[int, int]  # of the last change to the content, and to anything, in ns


def load(request: Request) -> RawImages:
    """Every image below DIR, decoded; `DataError` naming the file, class or folder at fault."""
    root = directory(request.argument)
    files, labels, class_names = _find(root)
    if len(files) < CACHE_FROM_IMAGES and sum(file.size for file in files) < CACHE_FROM_BYTES:
        images = _in_memory(root, _Decoding(files, request))
    else:
        images = _cached(root, files, request)
    return RawImages(images.transpose(0, 2, 3, 1), labels, class_names)  # (N, C, H, W) -> (N, H, W, C), a view


class _Decoding:
    """What is to be decoded, and into which shape."""

    def __init__(self, files: list[_ImageFile], request: Request) -> None:
        self.paths = [file.path for file in files]
        self.channels = request.channels
        self.progress = request.progress
        size = request.image_size or _common_size(self.paths) or DEFAULT_SIZE
        self.shape = (len(files), request.channels or 3, size, size)

    def fill(self, put: pixel_cache.PutFn) -> int:
        """Decode all images; how many channels of the shape are needed: 1 if nobody asked and all are grey."""
        count, channels, size, _ = self.shape
        is_grey = np.ones(count, np.bool_)

        def place(index: int) -> None:
            array = as_array(_decode(self.paths[index], size), channels)
            is_grey[index] = (array == array[:, :, :1]).all()
            put(index, array.transpose(2, 0, 1))  # (H, W, C) -> (C, H, W)

        with _only_bombs():
            in_threads(place, count, lambda done: self.progress(done, count))
        return 1 if self.channels is None and is_grey.all() else channels


def _in_memory(root: Path, decoding: _Decoding) -> NDArray[np.uint8]:
    check_bytes(str(root), decoding.shape)
    images = np.empty(decoding.shape, np.uint8)
    kept = decoding.fill(images.__setitem__)
    return images if kept == images.shape[1] else images[:, :kept].copy()


def _cached(root: Path, files: list[_ImageFile], request: Request) -> NDArray[np.uint8]:
    key = _fingerprint(root, files, request)
    stored = pixel_cache.find(key, len(files))
    if stored is not None:
        return stored
    decoding = _Decoding(files, request)
    try:
        return pixel_cache.store(key, decoding.shape, decoding.fill)
    except OSError as error:
        needed = math.prod(decoding.shape)
        if needed > MEMORY_BYTES:
            raise DataError(
                f"{root}: the decoded images take {needed / 2**30:.1f} GiB, and the cache can't hold them "
                f"({error.strerror or error}); set GAN_CACHE to a folder on a disk with more room, raise "
                "GAN_CACHE_GIB, or use a smaller --image-size"
            ) from error
        return _in_memory(root, decoding)


def _fingerprint(root: Path, files: list[_ImageFile], request: Request) -> str:
    """A name for the decoded images. The content is not read: sizes and times say whether it has changed."""
    asked = f"{_CACHE_VERSION} {PIL.__version__} {request.image_size} {request.channels}"
    digest = hashlib.sha256(asked.encode() + b"\0" + os.fsencode(root.resolve()))
    for path, size, times in files:
        digest.update(os.fsencode(f"\0{path.removeprefix(str(root))}\0{size} {times}"))
    return digest.hexdigest()[:32]


def _find(root: Path) -> tuple[list[_ImageFile], NDArray[np.int64] | None, tuple[str, ...] | None]:
    """The image files, the label of each, and the class names; no labels and names for a flat folder."""
    loose, folders = _entries(root)
    if loose and folders:
        raise DataError(
            f"{root} holds images ({_some(loose)}) and folders ({_some(folders)}); either one folder per "
            "class, or only images (unlabelled): move one of the two"
        )
    if loose:
        return loose, None, None
    if not folders:
        raise DataError(f"{root} holds no image: one folder per class, or images, as .png, .jpg, .webp, ...")
    files: list[_ImageFile] = []
    labels: list[int] = []
    for label, folder in enumerate(folders):
        directory(str(folder))
        images, nested = _entries(folder)
        if nested:
            raise DataError(
                f"class {folder.name!r} holds folders ({_some(nested)}) and classes are one level deep; "
                f"if those are the classes, write folder:{folder}"
            )
        if not images:
            raise DataError(f"class {folder.name!r} has no image ({folder}); add images or remove the folder")
        files += images
        labels += [label] * len(images)
    return files, np.array(labels, np.int64), tuple(folder.name for folder in folders)


def _entries(folder: Path) -> tuple[list[_ImageFile], list[Path]]:
    """The image files and the folders directly in `folder`, each in natural order."""
    images: list[_ImageFile] = []
    folders: list[Path] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(".") or entry.name == "__MACOSX":
                continue
            try:
                status = entry.stat()
            except OSError as error:
                raise DataError(f"{entry.path}: can't be read ({error.strerror}); repair or remove it") from error
            if stat.S_ISDIR(status.st_mode):
                folders.append(folder / entry.name)
            elif entry.name[entry.name.rfind(".") :].lower() in _SUFFIXES:  # pathlib takes as long as the stat
                images.append(_ImageFile(entry.path, status.st_size, (status.st_mtime_ns, status.st_ctime_ns)))
    images.sort(key=lambda file: _natural(file.path))  # the same folder in all
    return images, sorted(folders, key=lambda path: _natural(path.name))


def _natural(name: str) -> tuple[list[str | int], str]:
    # Splitting at numbers gives text, number, text, ...: the types of two keys agree at every place.
    parts = re.split(r"([0-9]+)", name.casefold())
    return [int(part) if index % 2 else part for index, part in enumerate(parts)], name


def _some(entries: Sequence[Path | _ImageFile]) -> str:
    names = ", ".join((entry if isinstance(entry, Path) else Path(entry.path)).name for entry in entries[:3])
    return names if len(entries) <= 3 else f"{names} and {len(entries) - 3} more"


def _common_size(paths: list[str]) -> int | None:
    """The width and height of all images when that is one supported number, read from the headers."""
    sizes: set[tuple[int, int]] = set()
    with _only_bombs():
        in_threads(lambda index: sizes.add(_dimensions(paths[index])), len(paths))
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


def _dimensions(path: str) -> tuple[int, int]:
    regular_file(path)
    try:
        with Image.open(path, formats=_FORMATS) as image:
            return image.size
    except Exception as error:
        raise _unreadable(path, error) from error


def _decode(path: str, size: int) -> Image.Image:
    """The image as `size` x `size`, mode L or RGB."""
    regular_file(path)
    try:
        with Image.open(path, formats=_FORMATS) as image:
            # JPEG can decode at a fraction of its size; twice the target leaves the last step to the resize.
            image.draft(None, (2 * size, 2 * size))
            return square(flatten(image), size)
    except Exception as error:
        raise _unreadable(path, error) from error


def _unreadable(path: str, error: Exception) -> DataError:
    """Decoders meet bytes of any kind here and raise errors of any kind: all mean the same to the user."""
    if isinstance(error, (Image.DecompressionBombError, Image.DecompressionBombWarning)):
        return DataError(f"{path}: too many pixels to decode safely ({error}); shrink or remove it")
    reason = "no image format is recognised" if isinstance(error, UnidentifiedImageError) else describe(error)
    return DataError(f"{path}: can't be read as an image ({reason}); repair or remove it")
