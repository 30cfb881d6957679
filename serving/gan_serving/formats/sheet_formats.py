"""Contact sheets, which are laid out as their images come, and sent when they are whole."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gan_client.types import Format
from gan_export.artifact.sheet import SheetLines, lines_picture

from .batch import Batch
from .body_format import BodyFormat
from .picture import save_picture
from .png import PngLines


class SheetFormat(BodyFormat):
    """A picture of several images; its bytes come at the end."""

    def __init__(self, model: str) -> None:
        super().__init__(model)
        self._sheet: SheetLines | None = None

    def _encode(self, part: Batch) -> bytes:
        if self._sheet is None:
            _, channels, height, width = part.images.shape
            self._sheet = SheetLines(self.total, (channels, height, width), part.columns)
            self._open(self._sheet, part)
        lines = self._sheet.add(part.images)
        if len(lines):
            self._add(lines)
        return b""

    @abstractmethod
    def _open(self, sheet: SheetLines, first: Batch) -> None:
        """Get ready for a sheet of this size and of such images."""

    @abstractmethod
    def _add(self, lines: NDArray[np.uint8]) -> None:
        """(lines, W, C), the next lines of the sheet."""


class PngSheet(SheetFormat):
    """Compressed line by line, so that the sheet's pixels are never held."""

    media_type = "image/png"

    def _open(self, sheet: SheetLines, first: Batch) -> None:
        self._file = PngLines(first.images.shape[1], *sheet.size, sheet.first_row)

    def _add(self, lines: NDArray[np.uint8]) -> None:
        self._file.add(lines)

    def end(self) -> bytes:
        return self._file.end()

    @property
    def kept(self) -> int:
        return self._file.size


class PillowSheet(SheetFormat):
    """Drawn part by part, and compressed at the end."""

    kind: ClassVar[str]

    def _open(self, sheet: SheetLines, first: Batch) -> None:
        height, width = sheet.size
        self._picture = Image.new("L" if first.images.shape[1] == 1 else "RGB", (width, height))
        self._quality = first.quality
        self._drawn = 0  # lines
        self._pixels = 0  # bytes

    def _add(self, lines: NDArray[np.uint8]) -> None:
        self._picture.paste(lines_picture(lines), (0, self._drawn))
        self._drawn += len(lines)
        self._pixels += lines.nbytes

    def end(self) -> bytes:
        return save_picture(self._picture, self.kind, self._quality)

    @property
    def kept(self) -> int:
        return self._pixels


class WebpSheet(PillowSheet):
    """Lossless without a quality."""

    media_type, kind = "image/webp", "webp"


class JpegSheet(PillowSheet):
    """Never exact."""

    media_type, kind = "image/jpeg", "jpeg"


SHEET_FORMATS: Final[dict[Format, type[SheetFormat]]] = {"png": PngSheet, "webp": WebpSheet, "jpeg": JpegSheet}
