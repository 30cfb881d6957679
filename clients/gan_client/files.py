"""Files on disk: safe names, and writing that leaves whole files or none."""

from __future__ import annotations

import contextlib
import os
import re
import stat
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from .errors import GanError, InvalidArgumentError

_LONGEST_SLUG: Final = 40

_SUFFIXES: Final = {
    ".png": "png",
    ".webp": "webp",
    ".jpg": "jpeg",
    ".jpeg": "jpeg",
    ".jpe": "jpeg",
    ".jfif": "jpeg",
    ".jif": "jpeg",
    ".gif": "gif",
    ".npy": "npy",
    ".zip": "zip",
    ".json": "json",
}
"""The format that a file's suffix names."""

_OTHERS: Final = frozenset(
    {".npz", ".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".zst", ".7z", ".pt", ".pth", ".h5", ".hdf5", ".parquet"}
    | {".arrow", ".tfrecord", ".lmdb", ".csv", ".jsonl", ".txt", ".pdf"}
    | {".bmp", ".tif", ".tiff", ".svg", ".svgz", ".avif", ".heic", ".heif", ".jxl", ".jp2", ".apng", ".ico", ".tga"}
    | {".pnm", ".ppm", ".pgm", ".pbm", ".xbm", ".xpm", ".psd", ".exr", ".eps"}
    | {".mp4", ".m4v", ".mov", ".avi", ".webm", ".mkv", ".mpg", ".mpeg", ".ogv", ".wmv", ".flv"}
)
"""How names of other files end that somebody may expect; a folder may well have another dot in its name."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where somebody wants files: a folder, or one file. Its text is the path's."""

    path: Path
    ends_in_slash: bool = False

    @classmethod
    def of(cls, text: str) -> Place:
        """The place that `text` names; with a slash at its end it is a folder, whether it is there or not."""
        return cls(Path(text), os.path.basename(text) == "")  # noqa: PTH119 - a Path forgets its slash

    @property
    def is_folder(self) -> bool:
        """Whether files go into it; what nobody may look at is told when it is written to."""
        with contextlib.suppress(OSError):
            return self.ends_in_slash or self.path.is_dir()
        return False

    def __str__(self) -> str:
        return str(self.path)


def slug(name: str) -> str:
    """`name` as part of a file name: letters and digits of any script, joined by `-`, 0 to 40 of them."""
    return re.sub(r"[\W_]+", "-", name)[:_LONGEST_SLUG].strip("-")


def image_name(index: int, count: int, seed: int | None, label: int | None, label_name: str | None) -> str:
    """File name of image `index` of `count`, e.g. `0003_seed-126_label-7-sneaker.png`; sorts by index."""
    width = max(4, len(str(count - 1)))
    parts = [f"{index:0{width}d}"]
    if seed is not None:
        parts.append(f"seed-{seed}")
    if label is not None:
        name = "" if label_name is None or label_name == str(label) else slug(label_name)
        parts.append(f"label-{label}-{name}" if name else f"label-{label}")
    return "_".join(parts) + ".png"


def format_named(path: Path) -> str | None:
    """The format that the name of a file promises, e.g. `jpeg`; of any other kind of file that people expect of images
    its suffix, and None for all else."""
    suffix = path.suffix.lower()
    return _SUFFIXES.get(suffix) or (suffix[1:] if suffix in _OTHERS else None)


def refuse_misnamed(path: Path, kind: str, other: str) -> None:
    """Raises InvalidArgumentError if `path` has the name of another format than `kind`; `other` is how to get that."""
    named = format_named(path)
    if named not in (None, kind):
        raise InvalidArgumentError(
            f"path is {str(path)!r}, but the file is {kind}: end its name in .{kind}, or {other}", param="path"
        )


def write_all(directory: Path, contents: Mapping[str, bytes]) -> list[Path]:
    """Write every file of `contents` (name -> bytes) into `directory`, made if missing; the paths, in order.

    All files are complete under temporary names before the first is renamed, so a full disk or Ctrl-C leaves
    no half file behind. Where a link stands, the file that it leads to is replaced; a pipe or a device gets the bytes
    and stays. Raises OSError.
    """
    directory.mkdir(parents=True, exist_ok=True)
    token = uuid.uuid4().hex
    staged: list[tuple[Path, Path]] = []
    streams = {directory / name: content for name, content in contents.items() if is_stream(directory / name)}
    try:
        for name, content in contents.items():
            if directory / name not in streams:
                final = (directory / name).resolve()
                temporary = final.parent / f".{token}-{len(staged)}.tmp"
                staged.append((temporary, final))
                temporary.write_bytes(content)
        for temporary, final in staged:
            temporary.replace(final)
    finally:
        for temporary, _ in staged:
            temporary.unlink(missing_ok=True)
    for path, content in streams.items():
        path.write_bytes(content)
    return [directory / name for name in contents]


def is_stream(path: Path) -> bool:
    """Whether `path` is a pipe or a device: something that takes bytes and can't be replaced. Raises OSError."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def save(directory: Path, contents: Mapping[str, bytes], *, force: bool, other: str) -> list[Path]:
    """`write_all` for a person: an existing file with different content is replaced only with `force`, and one with the
    same content stays.

    `other` says which option names another place. Raises GanError, in which case nothing was replaced.
    """
    try:
        taken = [] if force else [name for name, content in contents.items() if _differs(directory / name, content)]
        if taken:
            more = f" (and {len(taken) - 1} more)" if len(taken) > 1 else ""
            raise GanError(
                f"{directory / taken[0]}{more} exists with different content: --force replaces it, {other} names "
                "another place"
            )
        write_all(directory, {name: each for name, each in contents.items() if _is_news(directory / name, each)})
        return [directory / name for name in contents]
    except OSError as error:
        raise GanError(
            f"can't write to {directory}: {error.strerror or error}; give another place with {other}"
        ) from error


def _is_news(path: Path, content: bytes) -> bool:
    """Whether `path` has to be written to hold `content`: a file that does stays as it is."""
    return is_stream(path) or not path.exists() or _differs(path, content)


def _differs(path: Path, content: bytes) -> bool:
    """Whether something else than `content` is at `path`, and would be lost."""
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        return False
    if is_stream(path):
        return False
    return not path.is_file() or size != len(content) or path.read_bytes() != content


def free_name(directory: Path, name: str, content: bytes) -> str:
    """`name`, or `name` with the first number from 2 under which `directory` has nothing else than `content`."""
    stem, suffix = os.path.splitext(name)  # noqa: PTH122 - a name, not a path
    candidate, number = name, 1
    while _differs(directory / candidate, content):
        number += 1
        candidate = f"{stem}-{number}{suffix}"
    return candidate


def refuse_unwritable_file(path: Path, other: str) -> None:
    """`refuse_unwritable` for the folder of the file `path`, or of what it links to; a pipe or a device is taken."""
    try:
        folder = None if is_stream(path) else path.resolve().parent if path.is_symlink() else path.parent
    except OSError as error:
        raise GanError(f"can't write to {path}: {error.strerror or error}; give another place with {other}") from error
    if folder is not None:
        refuse_unwritable(folder, other)


def refuse_unwritable(path: Path, other: str) -> None:
    """Find out that nothing can be written into the folder `path` before the service works for nothing.

    Raises GanError; `other` is the option that names another place.
    """
    try:
        there = next((each for each in (path, *path.parents) if each.exists()), Path())
        reason = "" if there.is_dir() else f"{there} is not a folder"
        if not reason and not os.access(there, os.W_OK | os.X_OK):
            reason = f"no permission to write to {there}"
    except OSError as error:
        reason = error.strerror or str(error)
    if reason:
        raise GanError(f"can't write to {path}: {reason}; give another place with {other}")
