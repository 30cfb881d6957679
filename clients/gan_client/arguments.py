"""Arguments of a call: checked before anything is sent, and made into a `GenerateRequest`."""

from __future__ import annotations

import contextlib
import operator
import secrets
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final, SupportsFloat, SupportsIndex, TypeAlias
from urllib.parse import urlsplit

from pydantic import ValidationError

from ._constants import MAX_IMAGES, MAX_TRUNCATION
from .errors import InvalidArgumentError, fault
from .types import SEED_LIMIT, GenerateRequest

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

Label: TypeAlias = int | str
"""Class id, or class name."""

_LONGEST_NAME: Final = 200


def integer(name: str, value: object, low: int, high: int) -> int:
    """`value` as int, numpy's integers included. Raises InvalidArgumentError unless low <= value <= high."""
    if isinstance(value, SupportsIndex) and not isinstance(value, bool):
        number = operator.index(value)
        if low <= number <= high:
            return number
    raise InvalidArgumentError(f"{name} is {value!r}: it must be an integer from {low} to {high}", param=name)


def positive(name: str, value: object, high: float) -> float:
    """`value` as float. Raises InvalidArgumentError unless 0 < value <= high."""
    if isinstance(value, SupportsFloat) and not isinstance(value, bool):
        with contextlib.suppress(OverflowError, TypeError):
            number = float(value)
            if 0 < number <= high:
                return number
    raise InvalidArgumentError(f"{name} is {value!r}: it must be a number above 0 and at most {high:g}", param=name)


def image_count(value: object) -> int:
    """`n`, 1 to 100,000 here; the service's own limit is usually lower."""
    return integer("n", value, 1, MAX_IMAGES)


def seed_number(value: object, n: int = 1) -> int:
    """The seed of the first of `n` images; all seeds up to seed + n - 1 must be below 2**53."""
    seed = integer("seed", value, 0, SEED_LIMIT - 1)
    if seed + n > SEED_LIMIT:
        raise InvalidArgumentError(
            f"seed is {seed}: with n = {n} it must be at most {SEED_LIMIT - n}, image i has seed + i",
            param="seed",
        )
    return seed


def truncation_bound(value: object) -> float:
    """`truncation`, 0 < t <= 10."""
    return positive("truncation", value, MAX_TRUNCATION)


def name_of(param: str, value: str) -> str:
    """A generator's or class's name, 1 to 200 characters."""
    if not 1 <= len(value) <= _LONGEST_NAME:
        raise InvalidArgumentError(f"{param} is {value!r}: a name has 1 to {_LONGEST_NAME} characters", param=param)
    return value


def label_of(value: object) -> Label:
    """A class id (0 or above) or a class name (1 to 200 characters)."""
    if isinstance(value, str):
        return name_of("label", value)
    return integer("label", value, 0, SEED_LIMIT - 1)


def service_url(value: str) -> str:
    """`http[s]://host[:port][/path]` without a slash at its end. Raises InvalidArgumentError."""
    try:
        parts = urlsplit(value)
        complete = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        complete = False
    if not complete or not value.isprintable() or " " in value:
        raise InvalidArgumentError(
            f"url is {value!r}: it must be http://HOST:PORT or https://HOST, e.g. http://localhost:3000",
            param="url",
        )
    if parts.username is not None or parts.query or parts.fragment:
        raise InvalidArgumentError(
            f"the url of {parts.hostname} holds more than scheme, host, port and path: give a key with "
            "api_key=, --api-key or GAN_API_KEY, and no query or fragment",
            param="url",
        )
    return value.rstrip("/")


def key_text(value: str) -> str:
    """An API key that fits into a header. The message of its InvalidArgumentError does not show the key."""
    key = value.strip()
    if not (key.isascii() and key.isprintable() and key and " " not in key):
        raise InvalidArgumentError(
            "the API key is empty or has spaces, control or non-ASCII characters: give it as handed out",
            param="api_key",
        )
    return key


def _rows(latents: ArrayLike) -> list[list[float]]:
    import numpy as np

    try:
        array = np.asarray(latents, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InvalidArgumentError(f"latents are not rows of numbers: {error}", param="latents") from error
    if array.ndim != 2 or 0 in array.shape:
        raise InvalidArgumentError(
            f"latents have shape {array.shape}: it must be (n, latent_dim), both at least 1", param="latents"
        )
    if not np.isfinite(array).all():
        raise InvalidArgumentError("latents hold NaN or infinity: all must be finite numbers", param="latents")
    rows: list[list[float]] = array.tolist()
    return rows


def generate_request(
    n: int | None,
    label: Label | Iterable[Label] | None,
    seed: int | None,
    seeds: Sequence[int] | None,
    latents: ArrayLike | None,
    truncation: float | None,
    model: str | None,
) -> GenerateRequest:
    """The body of `POST /generate`, with n filled in, and the seed unless `seeds` or `latents` are given.

    The seed is chosen here, before the first try, so that a retry can't give other images. n is the number of
    seeds, latents or labels where those are lists, else 1. Raises InvalidArgumentError.
    """
    given = [name for name, value in (("seed", seed), ("seeds", seeds), ("latents", latents)) if value is not None]
    if len(given) > 1:
        raise InvalidArgumentError(f"{' and '.join(given)} are given: give one of them", param=given[1])
    rows = None if latents is None else _rows(latents)
    each = None if seeds is None else [integer("seeds", value, 0, SEED_LIMIT - 1) for value in seeds]
    labels: Label | list[Label] | None
    if label is None or isinstance(label, str) or not isinstance(label, Iterable):
        labels = None if label is None else label_of(label)
    else:
        labels = [label_of(value) for value in label]

    lists: dict[str, Sequence[object] | None]
    lists = {"seeds": each, "latents": rows, "label": labels if isinstance(labels, list) else None}
    sizes = {name: len(values) for name, values in lists.items() if values is not None}
    count = image_count(n if n is not None else next(iter(sizes.values()), 1))
    for name, size in sizes.items():
        if size != count:
            raise InvalidArgumentError(f"{name} has {size} entries: for n = {count} give {count}", param=name)
    if seed is not None:
        seed = seed_number(seed, count)
    elif each is None and rows is None:
        seed = secrets.randbelow(SEED_LIMIT - count)
    try:
        return GenerateRequest(
            model=None if model is None else name_of("model", model),
            n=count,
            seed=seed,
            seeds=each,
            label=labels,
            latents=rows,
            truncation=None if truncation is None else truncation_bound(truncation),
            format="zip",
        )
    except ValidationError as error:
        raise InvalidArgumentError(f"the request is not valid: {fault(error)}") from error


def expected_seeds(request: GenerateRequest) -> list[int | None]:
    """The seed each image of the answer must have; None for images drawn from latents."""
    count = request.n or 1
    if request.seeds is not None:
        return list(request.seeds)
    return [None if request.seed is None else request.seed + i for i in range(count)]
