"""`folder:DIR`: image files, one subfolder per class, or all directly in DIR (unlabelled).

Classes are the subfolders' names in natural order (2 before 10). Hidden entries and files whose extension is
no image's are passed over; a file that claims to be an image and isn't stops the load. Folders are read one
level deep, links are followed. Size and channels are settled as decoding.py says.

The decoded images of a large folder are kept in the cache folder. They are decoded anew when a file was added,
removed, renamed or written to, when the folder has another path, or when Pillow has another version.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .decoding import SUFFIXES, read_images
from .image_data import DataError
from .paths import directory, regular_file
from .source import RawImages, Request


class _ImageFile(NamedTuple):
    path: str
    size: int  # bytes
    times: tuple[int, int]  # of the last change to the content, and to anything, in ns


def load(request: Request) -> RawImages:
    """Every image below DIR, decoded; `DataError` naming the file, class or folder at fault."""
    root = directory(request.argument)
    files, labels, class_names = _find(root)
    return RawImages(read_images(str(root), _ImageFiles(root, files), request), labels, class_names)


class _ImageFiles:
    """`EncodedImages` of files."""

    def __init__(self, root: Path, files: list[_ImageFile]) -> None:
        self._root = root
        self._files = files

    def __len__(self) -> int:
        return len(self._files)

    @property
    def stored_bytes(self) -> int:
        return sum(file.size for file in self._files)

    def name(self, index: int) -> str:
        return self._files[index].path

    def open(self, index: int) -> str:
        path = self._files[index].path
        regular_file(path)
        return path

    def identity(self) -> bytes:
        """The content is not read: sizes and times say whether it has changed."""
        digest = hashlib.sha256(os.fsencode(self._root.resolve()))
        for path, size, times in self._files:
            digest.update(os.fsencode(f"\0{path.removeprefix(str(self._root))}\0{size} {times}"))
        return digest.digest()


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
            elif entry.name[entry.name.rfind(".") :].lower() in SUFFIXES:  # pathlib takes as long as the stat
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
