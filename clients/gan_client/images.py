"""What the service drew: `Image`, and `Generation`, the sequence of images of one call."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from ._constants import GRID_PADDING, MAX_COLUMNS
from .arguments import integer
from .errors import InvalidArgumentError, UnexpectedResponseError
from .files import format_named, image_name, refuse_misnamed, write_all
from .pixels import as_array, plain_pixels

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import DTypeLike, NDArray
    from PIL.Image import Image as PILImage


@dataclass(frozen=True, slots=True)
class Image:
    """One generated image."""

    png: bytes = field(repr=False)
    """The image as PNG, 8 bits per channel, grey or RGB."""

    seed: int | None
    """Seed it was drawn from; None if it was drawn from given latents."""

    label: int | None
    """Class id; None for an unconditional generator."""

    label_name: str | None = None
    """Class name; None for an unconditional generator."""

    def pil(self) -> PILImage:
        """The image, mode `L` (grey) or `RGB`. Raises UnexpectedResponseError if the PNG is damaged."""
        from PIL import Image as PILImageModule

        try:
            image = PILImageModule.open(io.BytesIO(self.png), formats=["PNG"])
            image.load()
        except (OSError, SyntaxError, ValueError, PILImageModule.DecompressionBombError) as error:
            raise UnexpectedResponseError(f"the image of seed {self.seed} is not a readable PNG: {error}") from error
        return image

    def numpy(self) -> NDArray[np.uint8]:
        """The image as uint8 (H, W, C), C = 1 (grey) or 3 (RGB); a new array at every call."""
        import numpy as np

        plain = plain_pixels(self.png)
        if plain is not None:
            return plain
        pixels = np.array(self.pil(), dtype=np.uint8)  # (H, W) or (H, W, 3)
        return pixels[:, :, None] if pixels.ndim == 2 else pixels

    @overload
    def __array__(self, dtype: None = None, copy: bool | None = None) -> NDArray[np.uint8]: ...
    @overload
    def __array__(self, dtype: DTypeLike, copy: bool | None = None) -> NDArray[Any]: ...
    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        """For `np.asarray(image)`: what `numpy` gives."""
        return as_array(self.numpy(), dtype, copy)

    def save(self, path: str | Path) -> Path:
        """Write the PNG to `path`, whole or not at all; missing folders are made.

        Raises OSError, and InvalidArgumentError for the name of another kind of file, e.g. `x.jpg`.
        """
        target = Path(path)
        refuse_misnamed(target, "png", "save what pil() gives")
        return write_all(target.parent, {target.name: self.png})[0]

    def _repr_png_(self) -> bytes:
        return self.png


class Generation(Sequence[Image]):
    """The images of one call, in the order of the request. Notebooks show it as a contact sheet."""

    def __init__(self, images: Iterable[Image], *, model: str, request_id: str, artifact: str | None = None) -> None:
        self._images = tuple(images)
        self.model = model
        """Name of the generator that drew the images."""
        self.artifact = artifact
        """Digest of its artifact, another one for each version of the generator; None if the service doesn't tell."""
        self.request_id = request_id
        """X-Request-ID of the call, to be looked up in the service's log."""

    def __len__(self) -> int:
        return len(self._images)

    def __iter__(self) -> Iterator[Image]:
        return iter(self._images)

    @overload
    def __getitem__(self, index: int) -> Image: ...
    @overload
    def __getitem__(self, index: slice) -> Generation: ...
    def __getitem__(self, index: int | slice) -> Image | Generation:
        if isinstance(index, slice):
            return Generation(self._images[index], model=self.model, request_id=self.request_id, artifact=self.artifact)
        return self._images[index]

    def __eq__(self, other: object) -> bool:
        """Equal if the same generator drew the same images, in whichever call."""
        if not isinstance(other, Generation):
            return NotImplemented
        return self.model == other.model and self._images == other._images

    def __hash__(self) -> int:
        return hash((self.model, self._images))

    def __repr__(self) -> str:
        return f"Generation(model={self.model!r}, n={len(self)}, request_id={self.request_id!r})"

    @property
    def arrays(self) -> NDArray[np.uint8]:
        """All images as uint8 (N, H, W, C), C = 1 (grey) or 3 (RGB); decoded anew at every access."""
        import numpy as np

        self._refuse_empty()
        return np.stack([image.numpy() for image in self._images])  # N x (H, W, C) -> (N, H, W, C)

    @overload
    def __array__(self, dtype: None = None, copy: bool | None = None) -> NDArray[np.uint8]: ...
    @overload
    def __array__(self, dtype: DTypeLike, copy: bool | None = None) -> NDArray[Any]: ...
    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        """For `np.asarray(generation)`: what `arrays` gives."""
        return as_array(self.arrays, dtype, copy)

    @property
    def file_names(self) -> list[str]:
        """Name of each image's file, with index, seed and label: what `save` writes."""
        return [
            image_name(i, len(self), image.seed, image.label, image.label_name) for i, image in enumerate(self._images)
        ]

    def grid(self, columns: int | None = None) -> PILImage:
        """Contact sheet, row by row, in `columns` columns (1 to 1000; near-square when None), on white:
        the service's own, to the pixel."""
        from PIL import Image as PILImageModule

        self._refuse_empty()
        count = len(self)
        across = math.isqrt(count - 1) + 1 if columns is None else integer("columns", columns, 1, MAX_COLUMNS)
        across = min(across, count)
        down = -(-count // across)
        tiles = [image.pil() for image in self._images]
        margin = GRID_PADDING if count > 1 else 0
        step_x, step_y = tiles[0].width + margin, tiles[0].height + margin
        white: Any = 255 if tiles[0].mode == "L" else (255, 255, 255)
        sheet = PILImageModule.new(tiles[0].mode, (across * step_x + margin, down * step_y + margin), white)
        for i, tile in enumerate(tiles):
            sheet.paste(tile, (i % across * step_x + margin, i // across * step_y + margin))
        return sheet

    def grid_png(self, columns: int | None = None) -> bytes:
        """`grid` as PNG."""
        buffer = io.BytesIO()
        self.grid(columns).save(buffer, format="PNG")
        return buffer.getvalue()

    def save(self, directory: str | Path) -> list[Path]:
        """Write one PNG for each image into `directory`, made if missing; the paths, in order.

        Either all files are complete or none is there under its name.

        Raises OSError, and InvalidArgumentError for the name of a file, e.g. `sheet.png`.
        """
        folder, names = Path(directory), self.file_names
        if format_named(folder) and not folder.is_dir():
            raise InvalidArgumentError(
                f"directory is {str(folder)!r}, the name of a file: save() makes a folder with a PNG for each image, "
                "grid().save() one picture, and client.render() any other file",
                param="directory",
            )
        return write_all(folder, {name: image.png for name, image in zip(names, self._images, strict=True)})

    def _repr_png_(self) -> bytes | None:
        return self.grid_png() if self._images else None

    def _refuse_empty(self) -> None:
        if not self._images:
            raise InvalidArgumentError("there are 0 images here: at least 1 is needed")
