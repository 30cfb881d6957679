"""Latents in a file, for pictures that have no seed: rows of numbers as npy or JSON."""

from __future__ import annotations

import io
import json
import sys
import tokenize
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from .errors import InvalidArgumentError, counted
from .pixels import numbers

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


STDIN: Final = Path("-")
_NPY: Final = b"\x93NUMPY"
_NO_LATENTS: Final = (
    ValueError,
    TypeError,
    KeyError,
    OverflowError,
    RecursionError,
    tokenize.TokenError,
    MemoryError,  # an npy file that is damaged may say that it has any number of rows
)


class LatentFile(NamedTuple):
    """What a file of latents holds."""

    latents: NDArray[np.float64]
    """Rows (n, latent_dim)."""

    labels: list[int] | None
    """The class ids beside them, if the file has any."""

    model: str | None
    """The generator that they were drawn for, if the file says."""


def read(path: Path) -> LatentFile:
    """The latents of `path`, `-` is stdin: npy (n, latent_dim), or JSON: rows of numbers, or what `POST /latents`
    answers, `{"model": "...", "latents": [...], "labels": [...]}`. One row alone may stand without the outer brackets.

    Raises InvalidArgumentError, naming the file.
    """
    import numpy as np

    name = "stdin" if path == STDIN else path
    try:
        data = sys.stdin.buffer.read() if path == STDIN else path.read_bytes()
        # Pickles stay shut: nothing in a file is run.
        content: Any = np.load(io.BytesIO(data), allow_pickle=False) if data.startswith(_NPY) else json.loads(data)
        labels = model = None
        if isinstance(content, dict):
            labels, model = content.get("labels"), content.get("model")
            content = content["latents"]
        rows = np.atleast_2d(numbers(content))
    except OSError as error:
        raise InvalidArgumentError(f"can't read {name}: {error.strerror or error}", param="latents") from error
    except _NO_LATENTS as error:
        raise InvalidArgumentError(
            f"{name} contains no latents ({error}): give npy of shape (n, latent_dim), or JSON rows [[...], ...]",
            param="latents",
        ) from error
    is_labelled = isinstance(labels, list) and all(type(label) is int and label >= 0 for label in labels)
    if labels is not None and not is_labelled:
        raise InvalidArgumentError(
            f"{name} has `labels` that are not a list of class ids: leave them out", param="latents"
        )
    if labels is not None and len(labels) != len(rows):
        given, due = counted(len(labels), "label", "labels"), counted(len(rows), "latent", "latents")
        raise InvalidArgumentError(
            f"{name} has {given} for {due}: give one for each, or leave them out",
            param="latents",
        )
    if model is not None and not isinstance(model, str):
        raise InvalidArgumentError(
            f"{name} has a `model` that is not a generator's name: leave it out", param="latents"
        )
    return LatentFile(rows, labels, model)
