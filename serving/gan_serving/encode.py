"""uint8 arrays -> PNG, NPY, ZIP, contact sheet, JSON. The same images give the same bytes."""

from __future__ import annotations

import base64
import io
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gan_client.types import Format, GeneratedImage, GenerateResponse
from gan_export.artifact.sheet import contact_sheet, to_picture

_ZIP_DATE: Final = (1980, 1, 1, 0, 0, 0)  # the archive must not depend on when it was made
FORMATS: Final[tuple[Format, ...]] = get_args(Format)


@dataclass(frozen=True)
class Batch:
    """Images with what is known of each."""

    model: str
    images: NDArray[np.uint8]  # (N, C, H, W)
    seeds: list[int] | None  # N
    labels: list[int] | None  # N
    class_names: list[str] | None
    columns: int | None  # of a contact sheet

    def describe(self, i: int, *, png: str | None = None, file: str | None = None) -> GeneratedImage:
        """The wire record of image i."""
        label = None if self.labels is None else self.labels[i]
        name = None if label is None or self.class_names is None else self.class_names[label]
        seed = None if self.seeds is None else self.seeds[i]
        return GeneratedImage(seed=seed, label=label, label_name=name, png=png, file=file)


@dataclass(frozen=True)
class Encoded:
    """A response body and its media type."""

    body: bytes
    media_type: str


def encode(batch: Batch, wanted: Format) -> Encoded:
    """A batch in one of the formats of the contract."""
    return _ENCODERS[wanted](batch)


def choose_format(accept: str) -> Format:
    """The first format that an Accept header names; json when it names none of them."""
    for part in accept.split(","):
        media_type = part.partition(";")[0].strip().lower()
        if media_type in _BY_MEDIA_TYPE:
            return _BY_MEDIA_TYPE[media_type]
    return "json"


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return buffer.getvalue()


def _encode_json(batch: Batch) -> Encoded:
    images = [
        batch.describe(i, png=base64.b64encode(_png(to_picture(image))).decode())
        for i, image in enumerate(batch.images)
    ]
    response = GenerateResponse(model=batch.model, images=images)
    return Encoded(response.model_dump_json(exclude={"images": {"__all__": {"file"}}}).encode(), "application/json")


def _encode_png(batch: Batch) -> Encoded:
    if len(batch.images) == 1:
        return Encoded(_png(to_picture(batch.images[0])), "image/png")
    return Encoded(_png(contact_sheet(batch.images, batch.columns)), "image/png")


def _encode_npy(batch: Batch) -> Encoded:
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(batch.images.transpose(0, 2, 3, 1)), allow_pickle=False)
    return Encoded(buffer.getvalue(), "application/x-npy")


def _encode_zip(batch: Batch) -> Encoded:
    digits = len(str(len(batch.images) - 1))
    names = [f"{i:0{digits}d}.png" for i in range(len(batch.images))]
    described = GenerateResponse(
        model=batch.model, images=[batch.describe(i, file=name) for i, name in enumerate(names)]
    )
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, image in zip(names, batch.images, strict=True):
            archive.writestr(zipfile.ZipInfo(name, _ZIP_DATE), _png(to_picture(image)))
        index = described.model_dump_json(exclude={"images": {"__all__": {"png"}}})
        archive.writestr(zipfile.ZipInfo("images.json", _ZIP_DATE), index)
    return Encoded(buffer.getvalue(), "application/zip")


_ENCODERS: Final[dict[Format, Callable[[Batch], Encoded]]] = {
    "json": _encode_json,
    "png": _encode_png,
    "npy": _encode_npy,
    "zip": _encode_zip,
}
_BY_MEDIA_TYPE: Final[dict[str, Format]] = {
    "application/json": "json",
    "image/png": "png",
    "application/x-npy": "npy",
    "application/zip": "zip",
}
