"""`load_data`: a source as the user writes it -> images ready to train on."""

from __future__ import annotations

import shlex
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from gan_training.errors import first_line
from gan_training.specs import SUPPORTED_SIZES
from gan_training.words import did_you_mean

from . import digits, folder, hf, idx, mnist, npz
from .image_data import DataError, ImageData, UnknownSourceError, breaks_text
from .pixels import reshape
from .source import ProgressFn, RawImages, Request, Source, check_bytes, keep_silent

MAX_CLASSES = 100_000
"""More than any data set of images has: a label above is not a class id, but a mark."""

SOURCES: dict[str, Source] = {
    "digits": Source("digits", "digits", digits.load),
    "mnist": Source("mnist or mnist#test", "mnist", mnist.MNIST.load),
    "fashion-mnist": Source("fashion-mnist or fashion-mnist#test", "fashion-mnist#test", mnist.FASHION_MNIST.load),
    "idx": Source("idx:DIR or idx:DIR#test", "idx:data/mnist", idx.load),
    "folder": Source("folder:DIR", "folder:photos/birds", folder.load),
    "npz": Source("npz:FILE", "npz:cifar.npz", npz.load),
    "hf": Source("hf:OWNER/NAME or hf:OWNER/NAME#SPLIT", "hf:ylecun/mnist#test", hf.load),
}
"""Name -> source. A new source is one file with a `load(Request) -> RawImages` and one line here."""


def load_data(
    source: str,
    image_size: int | None = None,
    channels: int | None = None,
    *,
    all_classes: bool = True,
    progress: ProgressFn = keep_silent,
) -> ImageData:
    """All images of `source`, square, of one size, with labels where it has them. Don't write into them.

    They are in memory; those of a large folder are mapped into it from the cache folder, and take none.

    `source`: one of the forms in `SOURCES`. `image_size`: pixels, one of `SUPPORTED_SIZES`; None keeps the
    source's own size if that is square and supported (a folder then falls back to 64 x 64, the others ask).
    `channels`: 1 or 3; None keeps what the source holds. Images of another shape are cropped at the centre
    and resized; grey becomes RGB by repetition, RGB grey by luma. `all_classes`: every class must have an
    image, as training needs; images that are only to be judged may lack some. `progress`: told (done, total)
    while a folder's images are decoded (images) or a file is downloaded (bytes); not at all where neither happens.

    Raises `DataError` with one line for the user: unknown source, missing or damaged files, labels that
    aren't 0..K-1 with an image each, fewer than 2 images, a size or channel count that isn't supported.
    """
    if image_size is not None and image_size not in SUPPORTED_SIZES:
        raise DataError(f"image size {image_size} isn't supported; choose one of {_sizes()}")
    if channels not in (None, 1, 3):
        raise DataError(f"{channels} channels aren't supported; choose 1 (grey) or 3 (RGB)")
    entry, argument = _named(source)
    try:
        raw = entry.load(Request(argument, image_size, channels, progress))
        return _finish(source, raw, image_size, channels, all_classes=all_classes)
    except MemoryError as error:
        raise DataError(
            f"{source}: doesn't fit in memory ({first_line(error)}); use fewer or smaller images"
        ) from error


def _named(source: str) -> tuple[Source, str]:
    """The source that the user means, and its argument: the text after `:`, or the split after `#`."""
    for name, entry in SOURCES.items():
        takes_argument = ":" in entry.form
        if takes_argument and source.startswith(f"{name}:") and source != f"{name}:":
            return entry, source.removeprefix(f"{name}:")
        if not takes_argument and source == name:
            return entry, ""
        if not takes_argument and "#" in entry.form and source in (f"{name}#{split}" for split in idx.SPLITS):
            return entry, source.removeprefix(f"{name}#")
    known = "; ".join(f"{entry.form} (as in {entry.example})" for entry in SOURCES.values())
    raise UnknownSourceError(f"unknown data source {source!r}{_meant(source, f'the known forms are: {known}')}")


def _meant(source: str, then: str) -> str:
    """The rest of a message: what the user may have meant by `source`, and `then`."""
    with suppress(OSError, ValueError, RuntimeError):  # no usable path
        path = Path(source).expanduser()
        if path.is_dir():
            return f"; it is a folder: write {shlex.quote(f'folder:{source}')}; {then}"
        if path.suffix == ".npz" and path.is_file():
            return f"; it is a file of arrays: write {shlex.quote(f'npz:{source}')}; {then}"
    return did_you_mean(source, [name for name, entry in SOURCES.items() if ":" not in entry.form], then)


def _finish(
    source: str, raw: RawImages, image_size: int | None, channels: int | None, *, all_classes: bool
) -> ImageData:
    """Checks what was read, and brings it to the asked size and channels."""
    count, height, width, own_channels = raw.pixels.shape
    if count < 2:
        raise DataError(f"{source}: holds {count} image(s); at least 2 are needed to train on")
    if not width or not height:
        raise DataError(f"{source}: the images are {width} x {height} pixels, which holds nothing")
    names = _class_names(source, raw, all_classes=all_classes)
    size = image_size or _own_size(source, width, height)
    channels = channels or own_channels
    if raw.pixels.shape[1:] != (size, size, channels):
        check_bytes(source, (count, size, size, channels))
    pixels = reshape(raw.pixels, size, channels)
    images = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))  # (N, H, W, C) -> (N, C, H, W)
    labels = None if raw.labels is None else torch.from_numpy(raw.labels.astype(np.int64))
    stored_as = _stored_as(raw, size, channels)
    return ImageData(torch.from_numpy(images), labels, names, source, raw.notes, stored_as, raw.file_names)


def _stored_as(raw: RawImages, size: int, channels: int) -> str:
    """`ImageData.stored_as` of images that became `size` x `size` with `channels`."""
    _, height, width, own_channels = raw.pixels.shape
    sizes = raw.stored_sizes or {(width, height)}
    if sizes == {(size, size)} and own_channels == channels:
        return ""
    (narrowest, lowest), (widest, highest) = (map(edge, zip(*sizes, strict=True)) for edge in (min, max))
    words = f"{widest}x{highest}" if len(sizes) == 1 else f"{narrowest}x{lowest} to {widest}x{highest}"
    return words if own_channels == channels else f"{words} {'grey' if own_channels == 1 else 'RGB'}"


def _sizes() -> str:
    return ", ".join(map(str, SUPPORTED_SIZES))


def _own_size(source: str, width: int, height: int) -> int:
    if width != height or width not in SUPPORTED_SIZES:
        raise DataError(
            f"{source}: the images are {width} x {height} pixels, which no net here makes; pass --image-size "
            f"with one of {_sizes()} to have them cropped and resized"
        )
    return width


def _class_names(source: str, raw: RawImages, *, all_classes: bool) -> tuple[str, ...]:
    """The name of each class, after checking that labels and names describe the same classes."""
    if raw.labels is None:
        return ()
    lowest, highest = int(raw.labels.min()), int(raw.labels.max())
    if lowest < 0:
        raise DataError(f"{source}: label {lowest} is negative; labels are class ids 0, 1, 2, ...")
    if highest >= MAX_CLASSES:
        raise DataError(
            f"{source}: label {highest} is not a class id; labels are 0, 1, 2, ... below {MAX_CLASSES:,}: leave out "
            "images of unknown class, or the labels"
        )
    names = raw.class_names
    if names is not None:
        if highest >= len(names):
            raise DataError(f"{source}: label {highest} has no name: there are {len(names)} class names")
        _check_names(source, names)
    classes = highest + 1 if names is None else len(names)
    missing = _missing(raw.labels, classes) if all_classes else []
    if missing:
        listed = ", ".join(str(i) if names is None else f"{i} ({names[i]})" for i in missing[:5])
        more = "" if len(missing) <= 5 else " and more"
        raise DataError(
            f"{source}: no image of class {listed}{more}; labels must be 0..{classes - 1} without gaps: "
            "renumber them or add images"
        )
    return tuple(map(str, range(classes))) if names is None else names


def _check_names(source: str, names: tuple[str, ...]) -> None:
    seen: set[str] = set()
    for label, name in enumerate(names):
        if not name.strip() or any(map(breaks_text, name)):
            raise DataError(f"{source}: class {label} is named {name!r}, which is not text; rename it")
        if name in seen:
            raise DataError(f"{source}: two classes are named {name!r}; rename one")
        seen.add(name)


def _missing(labels: NDArray[np.integer], classes: int) -> list[int]:
    """Up to 6 class ids below `classes` that no label has; quick however far the ids reach."""
    present = set(np.unique(labels).tolist())
    missing: list[int] = []
    for label in range(classes):
        if label not in present:
            missing.append(label)
            if len(missing) == 6:
                break
    return missing
