"""`npz`: FILE.npz with images uint8 (N, H, W, C), labels, seeds and class_names, as `gan-train --data npz:FILE` reads.

Label k is class_names[k]: the data set's classes in the order of the generator's ids.
Images are appended to a plain .npy as they come, so that memory stays the same however many there are.
"""

from __future__ import annotations

import os
import shutil
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

from gan_client.errors import GanError, UnexpectedResponseError
from gan_client.images import Image

from .plan import Entry, Plan

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_IMAGES: Final = "images.npy"
_WHOLE: Final = "whole.npz"
_REQUEST: Final = "request"
_ROWS_AT_ONCE: Final = 65_536
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip can name


class ArrayWriter:
    """Images go into a file of the work folder; `finish` makes the npz of it."""

    places: Final = ("index",)

    def __init__(self, root: Path, plan: Plan, target: Path) -> None:
        """`root` is the work folder, `target` the npz file."""
        self._root, self._plan, self._target = root, plan, target
        self._images = root / _IMAGES

    def place(self, entry: Entry) -> tuple[str, ...]:
        """The image's place in the arrays."""
        return (str(entry.index),)

    def begin(self) -> int:
        """Make ready for writing; the number of images that are there already."""
        self._root.mkdir(parents=True, exist_ok=True)
        header = _header("|u1", (self._plan.n, *self._shape))
        if not self._images.is_file() or self._images.stat().st_size < len(header):
            self._images.write_bytes(header)
        done = (self._images.stat().st_size - len(header)) // self._row
        os.truncate(self._images, len(header) + done * self._row)
        return done

    def append(self, entries: Sequence[Entry], pngs: Sequence[bytes]) -> None:
        """Write the next images. Raises UnexpectedResponseError if one has another size than the generator's."""
        import numpy as np

        rows = [Image(png, entry.seed, entry.label).numpy() for entry, png in zip(entries, pngs, strict=True)]
        for entry, row in zip(entries, rows, strict=True):
            if row.shape != self._shape:
                raise UnexpectedResponseError(
                    f"the image of seed {entry.seed} is {row.shape}, and /models says {self._shape} of "
                    f"{self._plan.model!r}: the service changed its generator; ask again"
                )
        with self._images.open("ab") as stream:
            stream.write(np.stack(rows).tobytes())

    def finish(self) -> None:
        """Make the npz file, whole or not at all."""
        whole = self._root / _WHOLE
        with whole.open("wb") as stream:
            with zipfile.ZipFile(stream, "w") as archive:
                for name, write in self._members():
                    info = zipfile.ZipInfo(f"{name}.npy", _EPOCH)
                    info.external_attr, info.create_system = 0o644 << 16, 3
                    with archive.open(info, "w", force_zip64=True) as member:
                        write(member)
            stream.flush()
            os.fsync(stream.fileno())
        whole.replace(self._target)

    def remove(self) -> None:
        """Delete what is in the work folder; a finished npz is replaced when the next one is finished."""
        for path in (self._images, self._root / _WHOLE):
            path.unlink(missing_ok=True)

    @property
    def _shape(self) -> tuple[int, int, int]:
        return (*self._plan.image_size, self._plan.channels)

    @property
    def _row(self) -> int:
        height, width, channels = self._shape
        return height * width * channels

    def _members(self) -> Iterator[tuple[str, Callable[[IO[bytes]], None]]]:
        import numpy as np

        plan = self._plan
        yield "images", self._copy
        yield "seeds", lambda member: self._integers(member, lambda i: i + plan.seed)
        if plan.labels is not None and plan.class_names is not None:
            # Numbered within the data set, without gaps, as training wants them; labels.csv has the generator's ids.
            present = sorted(plan.labels)
            labels = np.asarray([present.index(label) for label in plan.labels], np.int64)
            names = np.asarray([plan.class_names[label] for label in present], np.str_)
            yield "labels", lambda member: self._integers(member, lambda i: labels[i % len(labels)])
            yield "class_names", lambda member: _text(member, names)
        yield _REQUEST, lambda member: _text(member, np.asarray(plan.dumps(), np.str_))

    def _copy(self, member: IO[bytes]) -> None:
        with self._images.open("rb") as images:
            shutil.copyfileobj(images, member, 2**20)

    def _integers(self, member: IO[bytes], of: Callable[[NDArray[np.int64]], NDArray[np.int64]]) -> None:
        import numpy as np

        member.write(_header("<i8", (self._plan.n,)))
        for start in range(0, self._plan.n, _ROWS_AT_ONCE):
            rows = np.arange(start, min(start + _ROWS_AT_ONCE, self._plan.n), dtype=np.int64)
            member.write(of(rows).astype("<i8").tobytes())


def _header(descr: str, shape: tuple[int, ...]) -> bytes:
    import io

    from numpy.lib import format as npy

    buffer = io.BytesIO()
    npy.write_array_header_1_0(buffer, {"descr": descr, "fortran_order": False, "shape": shape})
    return buffer.getvalue()


def _text(member: IO[bytes], array: NDArray[np.str_]) -> None:
    from numpy.lib import format as npy

    npy.write_array(member, array, version=(1, 0), allow_pickle=False)


def plan_of(path: Path) -> Plan | None:
    """What the npz file `path` was made of; None if there is no such file.

    Raises GanError if it holds something else.
    """
    if not path.exists():
        return None
    text = _request(path)
    if text is None:
        raise GanError(
            f"{path} exists and is not a data set of gan-client: give another --out, or --force to replace it"
        )
    return Plan.loads(text, str(path))


def is_dataset(path: Path) -> bool:
    """Whether `path` is an npz file that `finish` made."""
    return path.exists() and _request(path) is not None


def _request(path: Path) -> str | None:
    import numpy as np

    try:
        with np.load(path, allow_pickle=False) as arrays:
            return str(arrays[_REQUEST][()])
    except (OSError, ValueError, TypeError, KeyError, IndexError, EOFError, zipfile.BadZipFile):
        return None
