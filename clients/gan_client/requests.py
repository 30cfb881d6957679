"""Arguments of a call together, made into the request's body. Nothing is sent from here."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ValidationError

from ._constants import KEY_POINT_LIMIT, MAX_COLUMNS, MAX_FPS, MAX_QUALITY, MAX_STEPS, MIN_STEPS, SEED_LIMIT
from .arguments import (
    Label,
    each_of,
    image_count,
    integer,
    is_one_label,
    label_of,
    name_of,
    seed_number,
    truncation_bound,
)
from .errors import InvalidArgumentError, counted, fault, one_line
from .pixels import numbers
from .types import (
    AnimationFormat,
    Format,
    GenerateRequest,
    InterpolateRequest,
    LatentsRequest,
)

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

_B = TypeVar("_B", bound=BaseModel)


def generate_request(
    n: int | None,
    label: Label | Iterable[Label] | None,
    seed: int | None,
    seeds: Iterable[int] | None,
    latents: ArrayLike | None,
    truncation: float | None,
    model: str | None,
    *,
    wanted: Format = "zip",
    columns: int | None = None,
    quality: int | None = None,
) -> GenerateRequest:
    """The body of `POST /generate`, with n filled in, and the seed unless `seeds` or `latents` are given.

    The seed is chosen here, before the first try, so that a retry can't give other images. n is the number of
    seeds, latents or labels where those are lists, else 1. Raises InvalidArgumentError.
    """
    given = [name for name, value in (("seed", seed), ("seeds", seeds), ("latents", latents)) if value is not None]
    if len(given) > 1:
        raise InvalidArgumentError(f"{' and '.join(given)} are given: give one of them", param=given[1])
    rows, each, labels = _rows(latents), _seeds(seeds), _labels(label)
    lists: dict[str, Sequence[object] | None]
    lists = {"seeds": each, "latents": rows, "label": labels if isinstance(labels, list) else None}
    sizes = {name: len(values) for name, values in lists.items() if values is not None}
    count = image_count(n if n is not None else next(iter(sizes.values()), 1))
    for name, size in sizes.items():
        if size != count:
            raise _miscounted(name, size, counted(count, "image", "images"))
    if seed is not None:
        seed = seed_number(seed, count)
    elif each is None and rows is None:
        seed = random_seed(count)
    return _body(
        GenerateRequest,
        model=_model(model),
        n=count,
        seed=seed,
        seeds=each,
        label=labels,
        latents=rows,
        truncation=_truncation(truncation),
        format=wanted,
        columns=_columns(columns),
        quality=_quality(quality),
    )


def interpolate_request(
    seeds: Iterable[int] | None,
    latents: ArrayLike | None,
    steps: int,
    label: Label | Iterable[Label] | None,
    truncation: float | None,
    loop: bool,
    model: str | None,
    *,
    wanted: AnimationFormat,
    fps: int = 12,
    columns: int | None = None,
    quality: int | None = None,
) -> InterpolateRequest:
    """The body of `POST /interpolate`. Raises InvalidArgumentError."""
    if (seeds is None) == (latents is None):
        many = "neither seeds nor latents are" if seeds is None else "seeds and latents are"
        raise InvalidArgumentError(f"{many} given: give 2 to {KEY_POINT_LIMIT} of one of them", param="seeds")
    rows, each, labels = _rows(latents), _seeds(seeds), _labels(label)
    points: Sequence[object] = each or rows or ()
    name = "latents" if each is None else "seeds"
    if not 2 <= len(points) <= KEY_POINT_LIMIT:
        entries = counted(len(points), "entry", "entries")
        raise InvalidArgumentError(f"{name} has {entries}: give 2 to {KEY_POINT_LIMIT}", param=name)
    if isinstance(labels, list) and len(labels) != len(points):
        raise _miscounted("label", len(labels), f"{len(points)} {name}")
    if rows is not None and truncation is not None:
        raise InvalidArgumentError(
            f"truncation is {truncation!r}, but latents are taken as they are: give one of them", param="truncation"
        )
    return _body(
        InterpolateRequest,
        model=_model(model),
        seeds=each,
        latents=rows,
        steps=integer("steps", steps, MIN_STEPS, MAX_STEPS),
        label=labels,
        truncation=_truncation(truncation),
        loop=bool(loop),
        format=wanted,
        fps=integer("fps", fps, 1, MAX_FPS),
        columns=_columns(columns),
        quality=_quality(quality),
    )


def latents_request(seeds: Iterable[int], truncation: float | None, model: str | None) -> LatentsRequest:
    """The body of `POST /latents`. Raises InvalidArgumentError."""
    return _body(LatentsRequest, model=_model(model), seeds=_seed_list(seeds), truncation=_truncation(truncation))


def random_seed(n: int) -> int:
    """A seed for the first of n images, such that the last one's is in range too."""
    return secrets.randbelow(SEED_LIMIT - n)


def expected_seeds(request: GenerateRequest) -> list[int | None]:
    """The seed each image of the answer must have; None for images drawn from latents."""
    count = request.n or 1
    if request.seeds is not None:
        return list(request.seeds)
    return [None if request.seed is None else request.seed + i for i in range(count)]


def _miscounted(name: str, size: int, due: str) -> InvalidArgumentError:
    """`seeds has 2 entries for 3 images: ...`; one label may serve all."""
    entries, single = counted(size, "entry", "entries"), "a single label, or " if name == "label" else ""
    return InvalidArgumentError(f"{name} has {entries} for {due}: give {single}one for each", param=name)


def _rows(latents: ArrayLike | None) -> list[list[float]] | None:
    if latents is None:
        return None
    import numpy as np

    try:
        array = numbers(latents)
    except Exception as error:  # an array of another library may say anything
        reason = one_line(str(error), 200)
        raise InvalidArgumentError(f"latents are not rows of numbers: {reason}", param="latents") from error
    if array.ndim != 2 or 0 in array.shape:
        raise InvalidArgumentError(
            f"latents have shape {array.shape}: it must be (n, latent_dim), both at least 1", param="latents"
        )
    if not np.isfinite(array).all():
        raise InvalidArgumentError("latents hold NaN or infinity: all must be finite numbers", param="latents")
    rows: list[list[float]] = array.tolist()
    return rows


def _seeds(seeds: Iterable[int] | None) -> list[int] | None:
    return None if seeds is None else _seed_list(seeds)


def _seed_list(seeds: Iterable[int]) -> list[int]:
    return [integer("seeds", value, 0, SEED_LIMIT - 1) for value in each_of("seeds", seeds)]


def _labels(label: Label | Iterable[Label] | None) -> Label | list[Label] | None:
    if label is None:
        return None
    if is_one_label(label):
        return label_of(label)
    return [label_of(value) for value in each_of("label", label)]


def _truncation(value: float | None) -> float | None:
    return None if value is None else truncation_bound(value)


def _columns(value: int | None) -> int | None:
    return None if value is None else integer("columns", value, 1, MAX_COLUMNS)


def _quality(value: int | None) -> int | None:
    return None if value is None else integer("quality", value, 1, MAX_QUALITY)


def _model(value: str | None) -> str | None:
    return None if value is None else name_of("model", value)


def _body(kind: type[_B], **fields: Any) -> _B:
    """A request. What pydantic still finds wrong is an argument's fault."""
    try:
        return kind(**fields)
    except ValidationError as error:
        raise InvalidArgumentError(f"the request is not valid: {fault(error)}") from error
