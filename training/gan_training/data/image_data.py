"""What every data source gives: images in memory, with labels or without."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch

_DIGESTED: Final = 64 * 2**20  # bytes of images


def breaks_text(character: str) -> bool:
    """Whether a character can't stand in a line of text: controls, line separators, lone surrogates."""
    return unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")


class DataError(ValueError):
    """A data source that can't be used. The message is one printable line, meant for the user.

    File and class names stand in messages, and may hold line breaks or bytes that are no text: those are
    written as escapes, so that printing the message can't fail or spread over lines.
    """

    def __init__(self, message: str) -> None:
        super().__init__("".join(c.encode("unicode_escape").decode("ascii") if breaks_text(c) else c for c in message))


class UnknownSourceError(DataError):
    """Text that is none of the forms of a source: a mistyped argument, and no fault of any file."""


@dataclass(frozen=True, eq=False)
class ImageData:
    """Square images of one size, held as bytes: a quarter of the memory of float32.

    Raises `DataError` when a field breaks what its comment says.
    """

    images: torch.Tensor
    """uint8 (N, C, H, W), C in {1, 3}, H == W, contiguous."""
    labels: torch.Tensor | None
    """int64 (N,), 0 <= label < len(class_names); None when the source has no labels."""
    class_names: tuple[str, ...]
    """One name per class id; empty when `labels` is None."""
    source: str
    """The source as the user wrote it."""
    notes: tuple[str, ...] = ()
    """What was found when it was read and the user should know, a line each."""
    stored_as: str = ""
    """Size (and channels, of arrays) before the images were cropped, resized or recoloured; empty: they were not."""
    file_names: Sequence[str] = ()
    """Of each image, where it is a file of a folder: relative to that. Otherwise empty."""

    def __post_init__(self) -> None:
        shape = tuple(self.images.shape)
        if self.images.dtype != torch.uint8 or len(shape) != 4 or shape[1] not in (1, 3):
            raise DataError(f"images must be uint8 (N, C, H, W) with C 1 or 3, not {self.images.dtype} {shape}")
        if shape[2] != shape[3]:
            raise DataError(f"images must be square, not {shape[3]} wide and {shape[2]} high")
        if not self.images.is_contiguous():
            raise DataError("images must be contiguous: call .contiguous() first")
        if self.labels is None:
            if self.class_names:
                raise DataError(f"{len(self.class_names)} class names were given without labels")
            return
        if self.labels.dtype != torch.int64 or tuple(self.labels.shape) != shape[:1]:
            raise DataError(f"labels must be int64 ({shape[0]},), not {self.labels.dtype} {tuple(self.labels.shape)}")
        if shape[0]:
            low, high = int(self.labels.min()), int(self.labels.max())
            if low < 0 or high >= self.classes:
                raise DataError(f"labels must be in 0..{self.classes - 1}, one per class name, not {low}..{high}")

    def digest(self) -> str:
        """sha256 by which other data can be told from these: of up to 64 MiB of the images, evenly spaced, and of all
        labels and class names. The images may be larger than memory, and are not read whole."""
        of_one = self.images[0].numel() if len(self) else 1
        apart = max(1, -(-len(self) * of_one // _DIGESTED))
        digest = hashlib.sha256(repr((tuple(self.images.shape), self.class_names)).encode())
        for image in self.images[::apart]:
            digest.update(image.numpy().data)
        if self.labels is not None:
            digest.update(self.labels.numpy().data)
        return digest.hexdigest()

    def __len__(self) -> int:
        return self.images.shape[0]

    @property
    def image_size(self) -> int:
        """Height and width in pixels."""
        return self.images.shape[3]

    @property
    def channels(self) -> int:
        """1 (grey) or 3 (RGB)."""
        return self.images.shape[1]

    @property
    def classes(self) -> int:
        """How many classes; 0 when the images have no labels."""
        return len(self.class_names)
