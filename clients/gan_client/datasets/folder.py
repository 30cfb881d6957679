"""`folder`: DIR/CLASS/000000123_seed-456.png, as torchvision's ImageFolder and `gan-train --data folder:DIR` read."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from gan_client.files import slug

from .plan import Entry, Plan

_PART: Final = ".part"


class FolderWriter:
    """Every image is whole under its name, or not there under it."""

    places: Final = ("file",)

    def __init__(self, root: Path, plan: Plan) -> None:
        self._root, self._plan = root, plan
        self._folders = class_folders(plan)

    def place(self, entry: Entry) -> tuple[str, ...]:
        """The image's file below the root."""
        name = f"{entry.key}_seed-{entry.seed}.png"
        return (name if entry.label is None else f"{self._folders[entry.label]}/{name}",)

    def begin(self) -> int:
        """Make ready for writing; the number of images that are there already, from the first on without a gap.

        A file without content, as a power failure leaves them, doesn't count.
        """
        self._root.mkdir(parents=True, exist_ok=True)
        for name in self._folders.values():
            (self._root / name).mkdir(exist_ok=True)
        return next((entry.index for entry in self._plan.entries() if not self._is_there(entry)), self._plan.n)

    def _is_there(self, entry: Entry) -> bool:
        try:
            return os.stat(self._path(entry)).st_size > 0  # noqa: PTH116 - once for each image
        except FileNotFoundError:
            return False

    def _path(self, entry: Entry) -> str:
        return f"{self._root}{os.sep}{self.place(entry)[0]}"

    def append(self, entries: Sequence[Entry], pngs: Sequence[bytes]) -> None:
        """Write the next images."""
        part = self._root / _PART
        try:
            for entry, png in zip(entries, pngs, strict=True):
                part.write_bytes(png)
                part.replace(self._path(entry))
        finally:
            part.unlink(missing_ok=True)

    def finish(self) -> None:
        """All images are there."""
        (self._root / _PART).unlink(missing_ok=True)

    def remove(self) -> None:
        """Delete the images of the plan, and nothing else."""
        for entry in self._plan.entries():
            Path(self._path(entry)).unlink(missing_ok=True)
        self.finish()
        for name in self._folders.values():
            folder = self._root / name
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()


def class_folders(plan: Plan) -> dict[int, str]:
    """A folder's name for each label: the class's name where that tells all of them apart, else id and name."""
    if plan.labels is None or plan.class_names is None:
        return {}
    names = {label: slug(plan.class_names[label]) for label in plan.labels}
    if "" not in names.values() and len({name.casefold() for name in names.values()}) == len(names):
        return names
    width = len(str(max(names)))
    return {label: f"{label:0{width}d}-{name}".rstrip("-") for label, name in names.items()}
