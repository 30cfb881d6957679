"""A request against a generator: everything is checked and resolved here, before anything is queued."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ValidationError

from gan_client.types import KEY_POINT_LIMIT, SEED_LIMIT, GenerateRequest, InterpolateRequest, LatentsRequest
from gan_export.artifact import Manifest, draw
from gan_serving.errors import InvalidRequestError
from gan_serving.messages import SHOWN, counted, show

from .fields import check_truncation, class_ids, given_latents, require_label

_Request = TypeVar("_Request", bound=BaseModel)


class Part(NamedTuple):
    """Some images of a plan."""

    latents: NDArray[np.float32]  # (k, latent_dim)
    labels: NDArray[np.int64] | None  # (k,); None for an unconditional generator
    seeds: list[int] | None  # k; None when the request carried latents


@dataclass(frozen=True)
class Plan:
    """What is to be generated. Latents are drawn part by part, so that a large request takes little memory."""

    n: int
    manifest: Manifest
    truncation: float | None
    every_seed: range | list[int] | None  # None when the request carried latents
    every_latent: NDArray[np.float32] | None  # (n, latent_dim) when it did
    every_label: int | NDArray[np.int64] | None  # one for all, or (n,); None: drawn from the seeds, or unconditional

    def __len__(self) -> int:
        return self.n

    def part(self, start: int, stop: int) -> Part:
        """Images `start` to `stop` of the request, 0 <= start < stop <= n."""
        labels = None
        if isinstance(self.every_label, int):
            labels = np.full(stop - start, self.every_label, np.int64)
        elif self.every_label is not None:
            labels = self.every_label[start:stop]
        if self.every_seed is None:
            assert self.every_latent is not None  # a plan has one of them
            return Part(self.every_latent[start:stop], labels, None)
        seeds = list(self.every_seed[start:stop])
        latent = self.manifest.latent
        classes = self.manifest.classes if labels is None else 0
        drawn = draw(seeds, latent.dim, latent.distribution, classes=classes, truncation=self.truncation)
        return Part(drawn.latents, drawn.labels if labels is None else labels, seeds)

    def chunks(self, size: int) -> Iterator[Part]:
        """All images in order, `size` of them at a time; the last part may be smaller."""
        for start in range(0, self.n, size):
            yield self.part(start, min(start + size, self.n))

    @property
    def first_seed(self) -> int | None:
        """The first image's seed; None when the request carried latents."""
        return None if self.every_seed is None else self.every_seed[0]


def parse_request(body: bytes, max_n: int) -> GenerateRequest:
    """The request of a JSON body; an empty body is `{}`.

    Raises:
        InvalidRequestError: naming the first field at fault, its value and what it may be.
    """
    return _parse(body, GenerateRequest, _RULES, max_n)


def parse_interpolation(body: bytes, max_n: int) -> InterpolateRequest:
    """The same for a request of frames."""
    return _parse(body, InterpolateRequest, _INTERPOLATION_RULES, max_n)


def parse_latents(body: bytes, max_n: int) -> LatentsRequest:
    """The same for a request of latents, whose number is checked as well."""
    request = _parse(body, LatentsRequest, _LATENTS_RULES, max_n)
    if len(request.seeds) > max_n:
        raise InvalidRequestError(
            f"seeds has {len(request.seeds)} entries; a request is for at most {counted(max_n, 'latent', 'latents')}",
            "seeds",
        )
    return request


def make_plan(request: GenerateRequest, manifest: Manifest, max_n: int) -> Plan:
    """Resolve count, seeds, labels and latents.

    Raises:
        InvalidRequestError: fields that contradict each other or don't fit this generator.
    """
    n = _count(request, max_n)
    latents, seeds = None, None
    if request.latents is not None:
        latents = given_latents(request.latents, manifest)
        require_label(request.label, manifest)
    else:
        check_truncation(request.truncation, manifest)
        seeds = _seeds(request, n)
    labels = None if request.label is None else class_ids(request.label, manifest)
    return Plan(n, manifest, request.truncation, seeds, latents, labels)


def _count(request: GenerateRequest, max_n: int) -> int:
    lists = {
        name: len(value)
        for name, value in (("seeds", request.seeds), ("latents", request.latents))
        if value is not None
    }
    if request.seed is not None and lists:
        raise InvalidRequestError(f"seed and {next(iter(lists))} exclude each other; give one of them", "seed")
    if len(lists) > 1:
        raise InvalidRequestError("seeds and latents exclude each other; give one of them", "seeds")
    if request.truncation is not None and "latents" in lists:
        raise InvalidRequestError("truncation and latents exclude each other; give one of them", "truncation")
    if isinstance(request.label, list) and not lists and request.n is None:
        lists["label"] = len(request.label)
    for name, length in lists.items():
        if request.n is not None and request.n != length:
            entries = counted(length, "entry", "entries")
            raise InvalidRequestError(f"n is {show(request.n)}, but {name} has {entries}; leave n out", name)
    n = request.n or next(iter(lists.values()), 1)
    if n > max_n:
        param = "n" if request.n is not None else next(iter(lists))
        what = f"n is {show(n)}" if param == "n" else f"{param} has {n} entries"
        raise InvalidRequestError(f"{what}; a request is for at most {counted(max_n, 'image', 'images')}", param)
    if isinstance(request.label, list) and len(request.label) != n:
        images = counted(n, "image", "images")
        raise InvalidRequestError(
            f"label has {counted(len(request.label), 'entry', 'entries')} for {images}; give a single label"
            + (", or one for each" if n > 1 else ""),
            "label",
        )
    return n


def _seeds(request: GenerateRequest, n: int) -> range | list[int]:
    if request.seeds is not None:
        return request.seeds
    first = secrets.randbelow(SEED_LIMIT - n) if request.seed is None else request.seed
    if first + n > SEED_LIMIT:
        raise InvalidRequestError(f"seed is {first}; with n={n} it must be at most 2**53 - {n}", "seed")
    return range(first, first + n)


_RULES: Final = {
    "model": "a model's name, as listed by /models",
    "n": "a whole number from 1 to {max_n}",
    "seed": "a whole number with 0 <= seed < 2**53",
    "seeds": "a list of whole numbers with 0 <= seed < 2**53, one for each image",
    "label": "a class id (0 or more), a class name, or a list of them, one for each image",
    "latents": "a list of n rows of latent_dim finite numbers",
    "truncation": "a number above 0 and at most 10",
    "format": "one of json, png, webp, jpeg, npy, zip, ndjson",
    "columns": "a whole number from 1 to 1000",
    "quality": "a whole number from 1 to 100",
}
_INTERPOLATION_RULES: Final = {
    "model": _RULES["model"],
    "seeds": f"a list of 2 to {KEY_POINT_LIMIT} whole numbers with 0 <= seed < 2**53, one for each key point",
    "latents": f"a list of 2 to {KEY_POINT_LIMIT} rows of latent_dim finite numbers",
    "steps": "a whole number from 2 to 240",
    "label": f"a class id (0 or more), a class name, or a list of 2 to {KEY_POINT_LIMIT}, one for each key point",
    "truncation": _RULES["truncation"],
    "loop": "true or false",
    "format": "one of gif, webp, png, npy",
    "fps": "a whole number from 1 to 60",
    "columns": _RULES["columns"],
    "quality": _RULES["quality"],
}

_LATENTS_RULES: Final = {
    "model": _RULES["model"],
    "seeds": "a list of 1 to {max_n} whole numbers with 0 <= seed < 2**53",
    "truncation": _RULES["truncation"],
}


def _parse(body: bytes, kind: type[_Request], rules: dict[str, str], max_n: int) -> _Request:
    try:
        return kind.model_validate_json(body or b"{}")
    except ValidationError as error:
        raise _explain(error, rules, max_n) from error


def _explain(error: ValidationError, rules: dict[str, str], max_n: int) -> InvalidRequestError:
    first = error.errors(include_url=False)[0]
    kind, where = first["type"], first["loc"]
    if kind == "json_invalid":
        detail = first["msg"].removeprefix("Invalid JSON: ")
        return InvalidRequestError(f"the body is not valid JSON: {detail}")
    if not where:
        return InvalidRequestError(f"the body is {show(first['input'])}; it must be a JSON object")
    param = str(where[0])
    if kind == "extra_forbidden":
        return InvalidRequestError(f"unknown field {show(param)}; expected one of {', '.join(rules)}", param[:SHOWN])
    place = param + "".join(f"[{part}]" for part in where[1:] if isinstance(part, int))
    rule = rules[param].format(max_n=max_n)
    if kind == "missing":
        return InvalidRequestError(f"{place} is missing; it must be {rule}", param)
    return InvalidRequestError(f"{place} is {show(first['input'])}; {param} must be {rule}", param)
