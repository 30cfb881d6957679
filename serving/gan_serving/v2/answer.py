"""What goes back: JSON, and images as JSON lists or as binary data behind it."""

from __future__ import annotations

import json
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from starlette.responses import Response

from gan_export.artifact import IMAGE_OUTPUT

JSON_VALUES: Final = 2**22
"""Values that an answer holds as JSON at most: each is a Python object while it is written."""


def to_json(content: object) -> bytes:
    """Compact JSON."""
    return json.dumps(content, separators=(",", ":")).encode()


def json_response(content: object) -> Response:
    """A 200 with this content."""
    return Response(to_json(content), media_type="application/json")


def image_header(model: str, version: str, id_: str | None, shape: tuple[int, ...], *, binary: bool) -> dict[str, Any]:
    """The JSON object of an answer, without `data`.

    Args:
        model: name of the generator.
        version: of it.
        id_: the request's.
        shape: (n, C, H, W).
        binary: whether the images follow as binary data.
    """
    output: dict[str, Any] = {"name": IMAGE_OUTPUT, "datatype": "UINT8", "shape": list(shape)}
    if binary:
        output["parameters"] = {"binary_data_size": int(np.prod(shape))}
    header: dict[str, Any] = {"model_name": model, "model_version": version, "outputs": [output]}
    return header if id_ is None else {"id": id_} | header


def with_data(header: dict[str, Any], images: NDArray[np.uint8]) -> bytes:
    """The whole answer with the images as one flat JSON list."""
    header["outputs"][0]["data"] = images.ravel().tolist()
    return to_json(header)
