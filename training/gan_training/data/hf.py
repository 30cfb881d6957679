"""`hf:NAME`: a data set of the Hugging Face Hub, or a folder of such files (`hf:./DIR`), through the package datasets.

    hf:OWNER/NAME[?config=C&revision=R&image=COLUMN&label=COLUMN][#SPLIT]

It is downloaded once, into the Hub's own cache (`HF_HOME`); `HF_TOKEN` opens private sets, `HF_ENDPOINT` names a
mirror. No code of a data set is ever run. SPLIT is `train` where there is one, or the only one, or one that is
asked for, `train[:5000]` included. Images are the column of that kind. Labels are the column of class labels, or
integers called `label` or, as in WebDataset, `cls`; a column of text that is asked for gives a class for each text.
`label=none`: unlabelled.
"""

from __future__ import annotations

import hashlib
import io
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl, quote

import numpy as np
from numpy.typing import NDArray

from .decoding import read_images, stored_sizes
from .image_data import DataError
from .paths import directory, regular_file
from .source import ProgressFn, RawImages, Request, keep_silent

_OPTIONS: Final = ("config", "revision", "image", "label")
_NAME: Final = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)  # `load_dataset("csv")` would read what lies about here
_UNLABELLED: Final = "none"
_OF_INTEGERS: Final = ("label", "cls")  # what integers that are labels are called; the second is WebDataset's name


class _Wanted(NamedTuple):
    """What the user wrote after `hf:`."""

    source: str
    path: str  # as `datasets.load_dataset` takes it: of the Hub alone, or of this machine alone
    split: str | None
    config: str | None = None
    revision: str | None = None
    image: str | None = None
    label: str | None = None


def load(request: Request) -> RawImages:
    """The images and labels of one split; `DataError` naming the data set, the column or the image at fault."""
    wanted = _parse(request.argument)
    datasets = _package(wanted.source)
    rows = _rows(datasets, wanted, request.progress)
    image = _image_column(datasets, wanted, rows.features)
    labels, names = _labels(datasets, wanted, rows)
    images = _Rows(wanted, rows, image)
    notes: list[str] = []
    pixels = read_images(wanted.source, images, request, notes)
    return RawImages(pixels, labels, names, tuple(notes), stored_sizes(images))


def _parse(argument: str) -> _Wanted:
    source = f"hf:{argument}"
    rest, _, split = argument.partition("#")
    name, _, query = rest.partition("?")
    options: dict[str, str] = {}
    for key, value in parse_qsl(query, keep_blank_values=True):
        if key not in _OPTIONS or not value or key in options:
            raise DataError(
                f"{source}: {key}={value} isn't understood; write each of {', '.join(_OPTIONS)} at most once, as in "
                "'hf:OWNER/NAME?label=COLUMN#test'"
            )
        options[key] = value
    if name.startswith((".", "/", "~")):
        path = str(directory(name).resolve())
    elif _NAME.fullmatch(name):
        path = f"hf://datasets/{name}"
    else:
        raise DataError(
            f"{source}: {name!r} is not the name of a data set; write hf:OWNER/NAME, or hf:./DIR for a folder"
        )
    return _Wanted(source, path, split or None, **options)


def _package(source: str) -> ModuleType:
    try:
        import datasets
    except ImportError as error:
        raise DataError(f"{source}: needs the package datasets; pip install 'ganworks[hf]'") from error
    module: ModuleType = datasets
    return module


def _rows(datasets: ModuleType, wanted: _Wanted, progress: ProgressFn) -> Any:  # a datasets.Dataset
    try:
        with _bars(datasets, shown=progress is not keep_silent and sys.stderr.isatty()):
            loaded = datasets.load_dataset(
                wanted.path, wanted.config, split=wanted.split, revision=wanted.revision, token=None
            )
    except Exception as error:  # of the Hub, of HTTP, of the files' formats, of the disk
        raise DataError(f"{wanted.source}: {_reason(datasets, error)}") from error
    if wanted.split is not None:
        return loaded
    if "train" in loaded:
        return loaded["train"]
    if len(loaded) == 1:
        return next(iter(loaded.values()))
    raise DataError(f"{wanted.source}: has no split 'train'; add one of {', '.join(f'#{split}' for split in loaded)}")


@contextmanager
def _bars(datasets: ModuleType, *, shown: bool) -> Iterator[None]:
    """The two packages' own progress bars, on stderr, only where somebody looks at them."""
    from huggingface_hub import utils as hub

    owners = [owner for owner in (datasets, hub) if not shown and not owner.are_progress_bars_disabled()]
    for owner in owners:
        owner.disable_progress_bars()
    try:
        yield
    finally:
        for owner in owners:
            owner.enable_progress_bars()


def _reason(datasets: ModuleType, error: Exception) -> str:
    """What the package says, in one line, and in our words what to do."""
    if isinstance(error, datasets.exceptions.DatasetGenerationError) and isinstance(error.__cause__, Exception):
        error = error.__cause__
    words = " ".join((str(error) or type(error).__name__).partition("\nExample of usage")[0].split())
    if isinstance(error, datasets.exceptions.DatasetNotFoundError):
        return f"{words} Check the name; for a private or gated one, set HF_TOKEN"
    if isinstance(error, ConnectionError):
        return f"{words}; check the connection. What was loaded before needs none: HF_HUB_OFFLINE=1"
    if "load_from_disk" in words:
        return (
            "was written by save_to_disk, whose files are not read here; write Parquet: "
            "datasets.load_from_disk(DIR).to_parquet('NEW/train.parquet'), of a set with splits one file each"
        )
    return f"{words} (choose with '?config=NAME')" if "onfig" in words else words


def _image_column(datasets: ModuleType, wanted: _Wanted, features: dict[str, Any]) -> str:
    columns = [name for name, feature in features.items() if isinstance(feature, datasets.Image)]
    if wanted.image is not None:
        if wanted.image not in columns:
            raise DataError(f"{wanted.source}: no column of images is called {wanted.image!r}; {_listed(columns)}")
        return wanted.image
    if len(columns) == 1 or "image" in columns:
        return columns[0] if len(columns) == 1 else "image"
    if columns:
        raise DataError(f"{wanted.source}: which images? {_listed(columns)}; add '?image=COLUMN'")
    raise DataError(f"{wanted.source}: has no column of images; its columns are {', '.join(features)}")


def _listed(columns: list[str]) -> str:
    return f"choose from {', '.join(columns)}" if columns else "it has none"


def _labels(
    datasets: ModuleType, wanted: _Wanted, rows: Any
) -> tuple[NDArray[np.integer] | None, tuple[str, ...] | None]:
    """(N,) integers and the classes' names, as far as there are any."""
    column = _label_column(datasets, wanted, rows.features)
    if column is None:
        return None, None
    values = _column(rows, column)
    if values.null_count:
        raise DataError(f"{wanted.source}: {values.null_count} rows have no {column!r}; add '?label={_UNLABELLED}'")
    array = values.to_numpy()
    feature = rows.features[column]
    if isinstance(feature, datasets.ClassLabel):
        if (array < 0).any():
            raise DataError(f"{wanted.source}: the labels of this split are withheld; add '?label={_UNLABELLED}'")
        return array, tuple(feature.names)
    if _kind(feature) == "text":
        texts, labels = np.unique(array.astype(str), return_inverse=True)
        return labels, tuple(texts.tolist())
    return array.astype(np.int64), None


def _label_column(datasets: ModuleType, wanted: _Wanted, features: dict[str, Any]) -> str | None:
    if wanted.label == _UNLABELLED:
        return None
    if wanted.label is not None:
        feature = features.get(wanted.label)
        if not (isinstance(feature, datasets.ClassLabel) or _kind(feature)):
            usable = [name for name, feature in features.items() if _kind(feature)]
            raise DataError(f"{wanted.source}: no column of labels is called {wanted.label!r}; {_listed(usable)}")
        return wanted.label
    columns = [name for name, feature in features.items() if isinstance(feature, datasets.ClassLabel)]
    if not columns:
        return next((name for name in _OF_INTEGERS if _kind(features.get(name)) == "integer"), None)
    if "label" in columns:
        return "label"
    if len(columns) > 1:
        raise DataError(
            f"{wanted.source}: which labels? {_listed(columns)}; add '?label=COLUMN', or '?label={_UNLABELLED}'"
        )
    return columns[0]


def _kind(feature: Any) -> str:
    """Of a column that labels can be made of: `integer` or `text`; else empty."""
    dtype = str(getattr(feature, "dtype", ""))
    if re.fullmatch(r"u?int\d+|bool", dtype):
        return "integer"
    return "text" if dtype in ("string", "large_string") else ""


def _column(rows: Any, name: str) -> Any:  # a pyarrow.ChunkedArray, mapped from the cache: nothing is decoded
    return rows.select_columns([name]).with_format("arrow")[:].column(name)


class _Rows:
    """`EncodedImages` of one column."""

    def __init__(self, wanted: _Wanted, rows: Any, column: str) -> None:
        self._wanted = wanted
        self._images = _column(rows, column)
        self._files = [Path(file["filename"]) for file in rows.cache_files]

    def __len__(self) -> int:
        return len(self._images)

    @property
    def stored_bytes(self) -> int:
        return int(self._images.nbytes)

    def name(self, index: int) -> str:
        return f"{self._wanted.source}: image {index}"

    def open(self, index: int) -> str | io.BytesIO:
        value = self._images[index].as_py() or {}
        if value.get("bytes"):
            return io.BytesIO(value["bytes"])
        if value.get("path"):
            regular_file(value["path"])
            return str(value["path"])
        raise DataError(f"{self.name(index)}: the row holds none; repair or remove it")

    def identity(self) -> bytes:
        """By the files that are mapped; their names hold the revision and the configuration."""
        digest = hashlib.sha256(repr(self._wanted).encode())
        for file in self._files:
            status = file.stat()
            digest.update(f"\0{quote(str(file))}\0{status.st_size} {status.st_mtime_ns}".encode())
        for chunk in () if self._files else self._images.chunks:  # HF_DATASETS_IN_MEMORY_MAX_SIZE
            for buffer in filter(None, chunk.buffers()):
                digest.update(buffer)
        return digest.digest()
