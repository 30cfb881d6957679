"""Where artifacts come from: what GAN_MODELS names, and how a change there is noticed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Final, Protocol, TypeAlias

from gan_export.artifact import MANIFEST_FILE

from . import store

STORE_PREFIX: Final = "bento"
ZOO: Final = "zoo"
MAY_BE_MISSING: Final = "?"
"""Ends the entry of a folder that need not be there."""
ZOO_FOLDERS: Final = (Path(__file__).parent / ZOO, Path(__file__).parents[2] / ZOO)
"""Of an installed package, and of a checkout or a bento."""

LOOK_UPS: Final = 3
"""How often a tag is looked up again in one look, while versions are being stored."""

Fingerprint: TypeAlias = tuple[tuple[str, int, int, int], ...]
"""Name, mtime in ns, size and inode of every file of a folder: when they are the same, nothing was written."""


class SourceError(ValueError):
    """A source that can't be looked into now; the message is one line."""


class Source(Protocol):
    """One entry of GAN_MODELS."""

    @property
    def gives_way(self) -> bool:
        """Whether its artifacts stand back behind those of other sources."""

    def artifacts(self) -> list[Path]:
        """The artifact folders that are there now; raises SourceError if that can't be said."""

    def resolved(self) -> str:
        """The entry again, so that it means the same in another working directory."""

    def described(self) -> str:
        """The entry in words."""


@dataclass
class Folder:
    """A folder of artifacts, or one artifact. One that may be missing is missed all the same once it was there."""

    path: Path
    may_be_missing: bool = False
    gives_way: ClassVar[bool] = False
    _was_there: bool = field(default=False, init=False, repr=False, compare=False)

    def artifacts(self) -> list[Path]:
        """The folder itself if it is an artifact, else those in it, by name; hidden ones are left out."""
        try:
            if (self.path / MANIFEST_FILE).exists():
                self._was_there = True
                return [self.path]
            # Hidden folders are exports under way, or older versions that step aside.
            found = sorted(entry.name for entry in os.scandir(self.path) if not entry.name.startswith("."))
        except OSError as error:
            if self.may_be_missing and not self._was_there and isinstance(error, FileNotFoundError):
                return []
            raise SourceError(f"{self.path}: can't be read: {error.strerror}") from error
        self._was_there = True
        return [self.path / name for name in found if _has_manifest(self.path / name)]

    def resolved(self) -> str:
        # Links stay as they are: one that is pointed elsewhere is a new version.
        return f"{self.path.absolute()}{MAY_BE_MISSING if self.may_be_missing else ''}"

    def described(self) -> str:
        return str(self.path.absolute())


@dataclass(frozen=True)
class Zoo:
    """The artifacts that come with this package."""

    folders: Sequence[Path] = field(default_factory=lambda: ZOO_FOLDERS)  # the first that is there
    gives_way: ClassVar[bool] = True

    def artifacts(self) -> list[Path]:
        return next((Folder(folder).artifacts() for folder in self.folders if folder.is_dir()), [])

    def resolved(self) -> str:
        return ZOO

    def described(self) -> str:
        return "the zoo"


@dataclass
class StoreModel:
    """A model of BentoML's model store; without a version, or with `latest`, the newest one."""

    tag: str
    _folder: Path | None = field(default=None, init=False)
    _stamp: Fingerprint = field(default=(), init=False)  # of the versions' folder when `_folder` was looked up
    gives_way: ClassVar[bool] = False

    def artifacts(self) -> list[Path]:
        if self._folder is None or not self._folder.is_dir() or self._stamp != _stamp_of(self._folder):
            self._folder, self._stamp = self._look_up()
        return [self._folder]

    def _look_up(self) -> tuple[Path, Fingerprint]:
        """The folder of the tag, and a stamp that is older than what says so: a version stored since is noticed."""
        try:
            folder = store.folder_of(self.tag)
            for _ in range(LOOK_UPS):
                stamp = _stamp_of(folder)
                before, folder = folder, store.folder_of(self.tag)
                if folder == before:
                    return folder, stamp
        except store.StoreError as error:
            raise SourceError(str(error)) from error
        return folder, ()  # of which the next look sees that it isn't so

    def resolved(self) -> str:
        return f"{STORE_PREFIX}:{self.tag}"

    def described(self) -> str:
        return self.resolved()


def parse_sources(text: str) -> list[Source]:
    """The sources that GAN_MODELS names.

    Entries are separated by ':', which is a part of tags too. `bento` begins a tag: it takes the next part as the name
    and the one after it as the version, unless that has a '/', '~' or leading '.' (a folder), is empty, or is `bento`
    or `zoo`. `zoo` names the artifacts that come with this package. A folder that need not be there ends in '?'.

    Raises:
        ValueError: `bento` without a name.
    """
    sources: list[Source] = []
    parts = text.split(":")
    while parts:
        part = parts.pop(0)
        if part == STORE_PREFIX:
            if not parts or not _fits_tag(parts[0]):
                raise ValueError(
                    "bento: needs the name of a model in BentoML's store, as in bento:digits or bento:digits:latest; "
                    "a folder of that name is written ./bento"
                )
            name = parts.pop(0)
            version = parts.pop(0) if parts and _fits_tag(parts[0]) else None
            sources.append(StoreModel(name if version is None else f"{name}:{version}"))
        elif part == ZOO:
            sources.append(Zoo())
        elif path := part.removesuffix(MAY_BE_MISSING):
            sources.append(Folder(Path(path).expanduser(), may_be_missing=path != part))
    return sources


def fingerprint(folder: Path) -> Fingerprint:
    """What `folder` holds; empty if it is gone."""
    found = []
    try:
        for entry in os.scandir(folder):
            try:
                state = entry.stat()
            except FileNotFoundError:  # a link that leads nowhere, or removed just now
                continue
            except OSError as error:  # a link to itself: what else is there counts all the same
                found.append((entry.name, 0, 0, -(error.errno or 0)))
                continue
            found.append((entry.name, state.st_mtime_ns, state.st_size, state.st_ino))
    except (FileNotFoundError, NotADirectoryError):
        return ()
    except OSError as error:  # loading it will say what is wrong
        found = [(error.strerror or "", 0, 0, 0)]
    return tuple(sorted(found))


def _has_manifest(folder: Path) -> bool:
    try:
        return (folder / MANIFEST_FILE).is_file()
    except OSError:
        return True  # loading it will say what is wrong


def _fits_tag(part: str) -> bool:
    return bool(part) and part not in (STORE_PREFIX, ZOO) and "/" not in part and part[0] not in "~."


def _stamp_of(folder: Path) -> Fingerprint:
    return fingerprint(folder.parent)
