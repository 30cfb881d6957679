"""Answers that are files, `Rendered` and `Animation`, and those that are arrays, `Frames` and `Latents`."""

from __future__ import annotations

import base64
import io
import tokenize
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from .archive import MalformedAnswerError
from .files import refuse_misnamed, write_all
from .pixels import as_array

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import DTypeLike, NDArray


@dataclass(frozen=True, slots=True)
class _File:
    data: bytes = field(repr=False)
    """The file as the service made it."""

    media_type: str
    """Media type of `data`, e.g. `image/webp`."""

    model: str | None
    """Name of the generator that drew it; None if the service didn't say."""

    request_id: str
    """X-Request-ID of the call, to be looked up in the service's log."""

    def save(self, path: str | Path) -> Path:
        """Write the file to `path`, whole or not at all; missing folders are made.

        Raises OSError, and InvalidArgumentError for the name of another kind of file, e.g. `x.webp` for a GIF.
        """
        target = Path(path)
        kind = self.media_type.rpartition("/")[2].removeprefix("x-")
        refuse_misnamed(target, kind, "ask for another kind with format=")
        return write_all(target.parent, {target.name: self.data})[0]

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        """What a notebook shows: the picture where it is one."""
        del include, exclude  # a notebook takes what it wants
        shown = {"text/plain": repr(self)}
        if self.media_type.startswith("image/"):
            shown[self.media_type] = base64.b64encode(self.data).decode()
        return shown


@dataclass(frozen=True, slots=True)
class Rendered(_File):
    """Images as one file, made by the service. Notebooks show a picture."""

    seed: int | None
    """Seed of the first image; None if it was drawn from given latents."""


@dataclass(frozen=True, slots=True)
class Animation(_File):
    """The way from image to image, as a GIF, WebP or contact sheet. Notebooks play it."""

    frames: int | None
    """Number of frames; None if the service didn't say."""


@dataclass(frozen=True, slots=True)
class Frames:
    """The frames of an interpolation, for whoever goes on computing with them."""

    arrays: NDArray[np.uint8] = field(repr=False)
    """uint8 (N, H, W, C), C = 1 (grey) or 3 (RGB)."""

    model: str | None
    """Name of the generator that drew them; None if the service didn't say."""

    request_id: str
    """X-Request-ID of the call, to be looked up in the service's log."""

    def __len__(self) -> int:
        return len(self.arrays)

    @overload
    def __array__(self, dtype: None = None, copy: bool | None = None) -> NDArray[np.uint8]: ...
    @overload
    def __array__(self, dtype: DTypeLike, copy: bool | None = None) -> NDArray[Any]: ...
    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        """For `np.asarray(it)`: `arrays`."""
        return as_array(self.arrays, dtype, copy)


@dataclass(frozen=True, slots=True)
class Latents:
    """What seeds stand for: `generate(latents=it.arrays, label=it.labels)` draws the seeds' images, to the byte."""

    arrays: NDArray[np.float32] = field(repr=False)
    """float32 (N, latent_dim), a row for each seed."""

    labels: list[int] | None
    """The class id that each seed draws when no label is asked for; None for an unconditional generator."""

    model: str
    """Name of the generator whose latents these are."""

    request_id: str
    """X-Request-ID of the call, to be looked up in the service's log."""

    def __len__(self) -> int:
        return len(self.arrays)

    @overload
    def __array__(self, dtype: None = None, copy: bool | None = None) -> NDArray[np.float32]: ...
    @overload
    def __array__(self, dtype: DTypeLike, copy: bool | None = None) -> NDArray[Any]: ...
    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        """For `np.asarray(it)`: `arrays`."""
        return as_array(self.arrays, dtype, copy)


def read_npy(content: bytes) -> NDArray[Any]:
    """The array of an npy file. Raises MalformedAnswerError; pickles are not read."""
    import numpy as np

    # The header is not trusted with a size: an array that the bytes don't hold is refused before it is made.
    buffer = io.BytesIO(content)
    try:
        version = np.lib.format.read_magic(buffer)
        if version != (1, 0):
            raise MalformedAnswerError(f"an npy file of version {version} where 1.0 was expected")
        shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(buffer)
        if dtype.hasobject or fortran_order:
            raise MalformedAnswerError("an npy file of another kind of array than expected")
        flat = np.frombuffer(content, dtype, offset=buffer.tell())
        return flat.reshape(shape).copy()
    except (EOFError, SyntaxError, TypeError, ValueError, tokenize.TokenError) as error:
        raise MalformedAnswerError(f"a broken npy file ({error})") from error
