"""Arguments of a call, each checked by itself before anything is sent."""

from __future__ import annotations

import contextlib
import operator
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from itertools import chain, islice
from typing import Final, SupportsFloat, SupportsIndex, TypeAlias, TypeGuard
from urllib.parse import urlsplit

from ._constants import LONGEST_NAME, MAX_IMAGES, MAX_TRUNCATION, SEED_LIMIT
from .errors import InvalidArgumentError

Label: TypeAlias = int | str
"""Class id, or class name."""

_FRAMING: Final = ("content-length", "transfer-encoding")
_LONGEST_LABEL: Final = 63  # characters between two dots of a host's name
_NOTHING: Final = object()
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, 5.6.2


def integer(name: str, value: object, low: int, high: int) -> int:
    """`value` as int, numpy's integers included. Raises InvalidArgumentError unless low <= value <= high."""
    if isinstance(value, SupportsIndex) and not isinstance(value, bool):
        with contextlib.suppress(TypeError):  # of an array with several numbers
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


def choice_of(param: str, value: object, choices: Sequence[str]) -> str:
    """`value`, which is one of the texts that there are. Raises InvalidArgumentError."""
    if not isinstance(value, str) or value not in choices:
        raise InvalidArgumentError(f"{param} is {value!r}: it must be one of {', '.join(choices)}", param=param)
    return str(value)


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


def name_of(param: str, value: object) -> str:
    """A generator's or class's name, 1 to 200 characters."""
    if not isinstance(value, str):
        raise InvalidArgumentError(f"{param} is {value!r}: a name is a str", param=param)
    if not 1 <= len(value) <= LONGEST_NAME or any("\ud800" <= character <= "\udfff" for character in value):
        raise InvalidArgumentError(
            f"{param} is {value!r}: a name has 1 to {LONGEST_NAME} characters that UTF-8 can hold", param=param
        )
    return str(value)  # numpy has a str of its own


def entries_of(param: str, values: object) -> Iterator[object]:
    """The entries of a list, or of any other iterable with an order. Raises InvalidArgumentError for what is none."""
    if not isinstance(values, Iterable) or isinstance(values, str | bytes | bytearray | Mapping | Set):
        raise InvalidArgumentError(f"{param} is {values!r}: give a list", param=param)
    try:
        return iter(values)
    except TypeError as error:  # numpy's arrays without dimensions
        raise InvalidArgumentError(f"{param} is {values!r}: give a list", param=param) from error


def each_of(param: str, values: object) -> Iterator[object]:
    """Those entries, but not more than a service is asked for, and one more where there are more.

    Raises InvalidArgumentError for what has none.
    """
    entries = entries_of(param, values)
    first = next(entries, _NOTHING)
    if first is _NOTHING:
        raise InvalidArgumentError(f"{param} has 0 entries: give at least 1", param=param)
    return islice(chain([first], entries), MAX_IMAGES + 1)


def is_one_label(value: object) -> TypeGuard[Label]:
    """Whether it is meant as one label, and not as a list of them."""
    return isinstance(value, str | SupportsIndex | SupportsFloat) and not getattr(value, "ndim", 0)


def label_of(value: object) -> Label:
    """A class id (0 or above) or a class name (1 to 200 characters)."""
    if isinstance(value, str):
        return name_of("label", value)
    return integer("label", value, 0, SEED_LIMIT - 1)


def _is_host(name: str) -> bool:
    labels = name.removesuffix(".").split(".")
    return ":" in name or all(1 <= len(label) <= _LONGEST_LABEL for label in labels)


def _without_password(url: str) -> str:
    before, at, host = url.rpartition("@")
    return f"{before.partition('://')[0]}://…@{host}" if at else url


def service_url(value: str) -> str:
    """`http[s]://host[:port][/path]` without a slash at its end. Raises InvalidArgumentError."""
    try:
        parts = urlsplit(value)
        complete = parts.scheme in ("http", "https") and _is_host(parts.hostname or "") and parts.port != 0
    except ValueError:
        complete = False
    if not complete or not value.isprintable() or " " in value:
        raise InvalidArgumentError(
            f"url is {_without_password(value)!r}: it must be http://HOST:PORT or https://HOST, e.g. http://localhost:3000",
            param="url",
        )
    if parts.username is not None or parts.query or parts.fragment:
        raise InvalidArgumentError(
            f"the url of {parts.hostname} has more than scheme, host, port and path: give a key with "
            "api_key=, --api-key or GAN_API_KEY, and no query or fragment",
            param="url",
        )
    return value.rstrip("/")


def header_fields(headers: Mapping[str, str] | None) -> dict[str, str]:
    """Headers of a client's own. The message of its InvalidArgumentError shows no value: some are secrets."""
    if not isinstance(headers, Mapping | None):
        raise InvalidArgumentError("headers are not a mapping of names to values", param="headers")
    for name, value in (headers or {}).items():
        if not _is_field(name, value):
            raise InvalidArgumentError(
                f"headers has {name!r}: its name or value is not text as HTTP allows it, one line of printable "
                "ASCII without spaces at its ends",
                param="headers",
            )
        if name.lower() in _FRAMING:
            raise InvalidArgumentError(
                f"headers has {name!r}: the client sends its own, by which the service finds the end of a request",
                param="headers",
            )
    return {name.title(): value for name, value in (headers or {}).items()}


def _is_field(name: object, value: object) -> bool:
    is_name = isinstance(name, str) and _TOKEN.fullmatch(name) is not None
    return is_name and isinstance(value, str) and value.isascii() and value.isprintable() and value == value.strip()


def key_text(value: str) -> str:
    """An API key that fits into a header. The message of its InvalidArgumentError does not show the key."""
    key = value.strip()
    if not (key.isascii() and key.isprintable() and key and " " not in key):
        raise InvalidArgumentError(
            "the API key is empty or has spaces, control or non-ASCII characters: give it as handed out",
            param="api_key",
        )
    return key
