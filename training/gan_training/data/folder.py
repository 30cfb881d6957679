"""`folder:DIR`: image files, one subfolder per class, or all directly in DIR (unlabelled).

Classes are the subfolders' names in natural order (2 before 10). Hidden entries and files whose extension is
no image's are passed over; a file that claims to be an image and isn't stops the load. Folders are read one
level deep, links are followed. With no size asked for, images keep their own size when all have the same,
square and supported one, and become 64 x 64 otherwise. With no channels asked for, they become grey when
every pixel of every image is grey, whatever the files' modes, and RGB otherwise.
"""

from __future__ import annotations

import os
import re
import stat
import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from gan_training.specs import SUPPORTED_SIZES

from .image_data import DataError
from .paths import directory, regular_file
from .pixels import as_array, flatten, in_threads, square
from .source import RawImages, Request, check_bytes, describe

DEFAULT_SIZE = 64
"""Pixels, for images that don't agree on a supported square size."""

_NOT_RASTER = {"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"}
"""Formats that Pillow only names, or renders by running another program: never opened."""


def _readable() -> tuple[tuple[str, ...], frozenset[str]]:
    """Pillow's formats that hold pixels, and the file extensions that belong to them."""
    Image.init()
    formats = tuple(name for name in Image.ID if name not in _NOT_RASTER)
    extensions = Image.registered_extensions().items()
    return formats, frozenset(suffix for suffix, name in extensions if name in formats)


_FORMATS, _SUFFIXES = _readable()


def load(request: Request) -> RawImages:
    """Every image below DIR, decoded; `DataError` naming the file, class or folder at fault."""
    root = directory(request.argument)
    paths, labels, class_names = _find(root)
    with warnings.catch_warnings():
        # Pillow warns of oddities in metadata, which doesn't concern the pixels, and of suspected bombs,
        # which have to stop here.
        warnings.simplefilter("ignore", UserWarning)
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        size = request.image_size or _common_size(paths) or DEFAULT_SIZE
        channels = request.channels or 3
        shape = (len(paths), size, size, channels)
        check_bytes(str(root), shape)
        pixels = np.empty(shape, np.uint8)

        def place(index: int) -> bool:
            array = as_array(_decode(paths[index], size), channels)
            pixels[index] = array
            return bool((array == array[:, :, :1]).all())

        all_grey = all(in_threads(place, range(len(paths))))
    if request.channels is None and all_grey:
        pixels = pixels[:, :, :, :1].copy()  # (N, H, W, 3) -> (N, H, W, 1)
    return RawImages(pixels, labels, class_names)


def _find(root: Path) -> tuple[list[Path], NDArray[np.int64] | None, tuple[str, ...] | None]:
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
    paths: list[Path] = []
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
        paths += images
        labels += [label] * len(images)
    return paths, np.array(labels, np.int64), tuple(folder.name for folder in folders)


def _entries(folder: Path) -> tuple[list[Path], list[Path]]:
    """The image files and the folders directly in `folder`, each in natural order."""
    images: list[Path] = []
    folders: list[Path] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            path = folder / entry.name
            if entry.name.startswith(".") or entry.name == "__MACOSX":
                continue
            try:
                is_folder = stat.S_ISDIR(entry.stat().st_mode)
            except OSError as error:
                raise DataError(f"{path}: can't be read ({error.strerror}); repair or remove it") from error
            if is_folder:
                folders.append(path)
            elif path.suffix.lower() in _SUFFIXES:
                images.append(path)
    return sorted(images, key=_natural), sorted(folders, key=_natural)


def _natural(path: Path) -> tuple[list[str | int], str]:
    # Splitting at numbers gives text, number, text, ...: the types of two keys agree at every place.
    parts = re.split(r"([0-9]+)", path.name.casefold())
    return [int(part) if index % 2 else part for index, part in enumerate(parts)], path.name


def _some(paths: list[Path]) -> str:
    names = ", ".join(path.name for path in paths[:3])
    return names if len(paths) <= 3 else f"{names} and {len(paths) - 3} more"


def _common_size(paths: list[Path]) -> int | None:
    """The width and height of all images when that is one supported number, read from the headers."""
    sizes = set(in_threads(_dimensions, paths))
    if len(sizes) != 1:
        return None
    width, height = sizes.pop()
    return width if width == height and width in SUPPORTED_SIZES else None


def _dimensions(path: Path) -> tuple[int, int]:
    regular_file(path)
    try:
        with Image.open(path, formats=_FORMATS) as image:
            return image.size
    except Exception as error:
        raise _unreadable(path, error) from error


def _decode(path: Path, size: int) -> Image.Image:
    """The image as `size` x `size`, mode L or RGB."""
    regular_file(path)
    try:
        with Image.open(path, formats=_FORMATS) as image:
            # JPEG can decode at a fraction of its size; twice the target leaves the last step to the resize.
            image.draft(None, (2 * size, 2 * size))
            return square(flatten(image), size)
    except Exception as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> DataError:
    """Decoders meet bytes of any kind here and raise errors of any kind: all mean the same to the user."""
    if isinstance(error, (Image.DecompressionBombError, Image.DecompressionBombWarning)):
        return DataError(f"{path}: too many pixels to decode safely ({error}); shrink or remove it")
    reason = "no image format is recognised" if isinstance(error, UnidentifiedImageError) else describe(error)
    return DataError(f"{path}: can't be read as an image ({reason}); repair or remove it")
