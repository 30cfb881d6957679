"""`folder:DIR`: image files, one subfolder per class, or all directly in DIR (unlabelled).

Classes are the subfolders' names, in Unicode NFC and in natural order (2 before 10). Hidden entries and files whose
extension is none that Pillow reads are passed over, with a note where it is an image's all the same; files that claim
to be images and aren't stop the load. Folders are read one level deep, links are followed. Size and channels are
settled as decoding.py says.

The decoded images of a large folder are kept in the cache folder. They are decoded anew when a file was added,
removed, renamed or written to, when the folder has another path, or when Pillow has another version.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import stat
import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gan_training.words import counted

from .decoding import SUFFIXES, read_images, stored_sizes
from .image_data import DataError
from .paths import directory, regular_file
from .source import RawImages, Request

_NOT_READ: Final = re.compile(r"\.(hei[cf]|avif|jxl|jxr|svg|xcf|raw|dng|cr[23]|nef|nrw|arw|orf|raf|rw2|pef)")
"""Extensions of images that Pillow, without a plugin, can't read: of phones, cameras and drawing programs."""


class _ImageFile(NamedTuple):
    path: str
    size: int  # bytes
    times: tuple[int, int]  # of the last change to the content, and to anything, in ns


def load(request: Request) -> RawImages:
    """Every image below DIR, decoded; `DataError` naming the file, class or folder at fault."""
    root = directory(request.argument)
    passed: Counter[str] = Counter()
    files, labels, class_names = _find(root, passed)
    images = _ImageFiles(root, files)
    notes: list[str] = []
    pixels = read_images(str(root), images, request, notes)
    told = tuple(filter(None, [_note(passed), *notes]))
    names = [os.path.relpath(file.path, root) for file in files]
    return RawImages(pixels, labels, class_names, told, stored_sizes(images), names)


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


def _note(passed: Counter[str]) -> str:
    if not passed:
        return ""
    kinds = ", ".join(f"{count:,} {suffix}" for suffix, count in passed.most_common(4))
    return (
        f"{counted(passed.total(), 'picture')} of kinds that can't be read {'was' if passed.total() == 1 else 'were'} "
        f"passed over ({kinds}); save {'it' if passed.total() == 1 else 'them'} as PNG or JPEG"
    )


def _find(
    root: Path, passed: Counter[str]
) -> tuple[list[_ImageFile], NDArray[np.int64] | None, tuple[str, ...] | None]:
    """The image files, the label of each, and the class names; no labels and names for a flat folder.

    `passed`: counts the pictures that can't be read, by their extensions.
    """
    loose, folders = _entries(root, passed)
    if loose and folders:
        raise DataError(
            f"{root} holds images ({_some(loose)}) and folders ({_some(folders)}); either one folder per "
            "class, or only images (unlabelled): move one of the two"
        )
    if loose:
        return loose, None, None
    if not folders:
        why = _note(passed) or "one folder per class, or images, as .png, .jpg, .webp, ..."
        raise DataError(f"{root} holds no image: {why}")
    names = _names(root, folders)
    files: list[_ImageFile] = []
    labels: list[int] = []
    for label, folder in enumerate(folders):
        directory(str(folder))
        images, nested = _entries(folder, passed)
        if nested:
            raise DataError(
                f"class {folder.name!r} holds folders ({_some(nested)}) and classes are one level deep; "
                f"if those are the classes, write {shlex.quote(f'folder:{folder}')}"
            )
        if not images:
            why = _note(passed) or "add images or remove the folder"
            raise DataError(f"class {folder.name!r} has no image ({folder}): {why}")
        files += images
        labels += [label] * len(images)
    return files, np.array(labels, np.int64), names


def _names(root: Path, folders: list[Path]) -> tuple[str, ...]:
    """The classes' names in Unicode NFC, as keyboards write them; macOS may have written NFD."""
    names: dict[str, None] = {}
    for folder in folders:
        name = _composed(folder.name)
        if name in names:
            raise DataError(
                f"{root} holds two folders called {name!r}, whose accents are written in two ways (Unicode NFC and "
                "NFD); put the images of both into one"
            )
        names[name] = None
    return tuple(names)


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _entries(folder: Path, passed: Counter[str]) -> tuple[list[_ImageFile], list[Path]]:
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
                continue
            suffix = entry.name[entry.name.rfind(".") :].lower()  # pathlib takes as long as the stat
            if suffix in SUFFIXES:
                images.append(_ImageFile(entry.path, status.st_size, (status.st_mtime_ns, status.st_ctime_ns)))
            elif _NOT_READ.fullmatch(suffix):
                passed[suffix] += 1
    images.sort(key=lambda file: _natural(file.path))  # the same folder in all
    return images, sorted(folders, key=lambda path: _natural(_composed(path.name)))


def _natural(name: str) -> tuple[list[str | int], str]:
    # Splitting at numbers gives text, number, text, ...: the types of two keys agree at every place.
    parts = re.split(r"([0-9]+)", name.casefold())
    return [int(part) if index % 2 else part for index, part in enumerate(parts)], name


def _some(entries: Sequence[Path | _ImageFile]) -> str:
    names = ", ".join((entry if isinstance(entry, Path) else Path(entry.path)).name for entry in entries[:3])
    return names if len(entries) <= 3 else f"{names} and {len(entries) - 3} more"
