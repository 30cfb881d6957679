"""Fields that several kinds of request have: labels and latents, checked against a generator."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final, TypeAlias
from unicodedata import normalize

import numpy as np
from numpy.typing import NDArray

from gan_export.artifact import Manifest
from gan_serving.errors import InvalidRequestError
from gan_serving.messages import counted, nearest, show

Label: TypeAlias = int | str

_SHOWN_NAMES: Final = 12  # class names in a message


def given_latents(rows: list[list[float]], manifest: Manifest) -> NDArray[np.float32]:
    """(n, latent_dim) from a request's rows; raises InvalidRequestError if they don't fit the generator."""
    dim = manifest.latent.dim
    for i, row in enumerate(rows):
        if len(row) != dim:
            numbers = counted(len(row), "number", "numbers")
            raise InvalidRequestError(f"latents[{i}] has {numbers}; {manifest.name} needs {dim}", "latents")
    values = np.array(rows, np.float64)
    largest = float(np.abs(values).max())
    if largest > float(np.finfo(np.float32).max):
        raise InvalidRequestError(f"latents hold {largest:g}, which is not a finite float32 number", "latents")
    return values.astype(np.float32)


def class_ids(asked: Label | Sequence[Label], manifest: Manifest) -> int | NDArray[np.int64]:
    """The id that a label means, or (n,) ids of a list; raises InvalidRequestError naming the one that means none."""
    if manifest.class_names is None:
        raise InvalidRequestError(
            f"label is {show(asked)}, but {manifest.name} is unconditional; leave it out", "label"
        )
    if isinstance(asked, int | str):
        return _class_id(asked, manifest)
    return np.array([_class_id(item, manifest) for item in asked], np.int64)


def check_truncation(truncation: float | None, manifest: Manifest) -> None:
    """Raises InvalidRequestError if there is one and the generator's latents have nothing to cut."""
    if truncation is not None and manifest.latent.distribution != "normal":
        raise InvalidRequestError(
            f"truncation is {truncation}, but {manifest.name} has uniform latents; leave it out", "truncation"
        )


def require_label(asked: object, manifest: Manifest) -> None:
    """With latents, there is no seed to draw a label from; raises InvalidRequestError if one is needed and missing."""
    if asked is None and manifest.classes:
        raise InvalidRequestError(f"label is missing; with latents, give {_label_rule(manifest)}", "label")


def _class_id(asked: Label, manifest: Manifest) -> int:
    names = manifest.class_names or []
    if isinstance(asked, int):
        if asked < len(names):
            return asked
    elif asked in names:
        return names.index(asked)
    elif (same := _same_text(asked, tuple(names))) is not None:
        return same
    elif asked.isascii() and asked.isdigit() and int(asked) < len(names):
        return int(asked)
    near = nearest(asked, names) if isinstance(asked, str) else None
    hint = f", the nearest is {show(near)}" if near else ""
    raise InvalidRequestError(f"label is {show(asked)}{hint}; {manifest.name} has {_label_rule(manifest)}", "label")


def _same_text(asked: str, names: tuple[str, ...]) -> int | None:
    """The class whose name is the same text in other code points: a Mac's folders have their accents apart."""
    return None if asked.isascii() else _by_text(names).get(normalize("NFC", asked))


@lru_cache(maxsize=16)
def _by_text(names: tuple[str, ...]) -> dict[str, int]:
    """The class id of each name in Unicode's Normalization Form C, the first one's where two are the same."""
    return {normalize("NFC", name): i for i, name in reversed(list(enumerate(names)))}


def _label_rule(manifest: Manifest) -> str:
    names = manifest.class_names or []
    shown = ", ".join(names[:_SHOWN_NAMES]) + (", ..." if len(names) > _SHOWN_NAMES else "")
    return f"class ids from 0 to {len(names) - 1} and class names {shown}"
