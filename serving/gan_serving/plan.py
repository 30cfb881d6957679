"""A request against a generator: everything is checked and resolved here, before anything is queued."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from gan_client.types import SEED_LIMIT, GenerateRequest
from gan_export.artifact import Manifest, draw

from .errors import InvalidRequestError

_SHOWN: Final = 60  # characters of an offending value


@dataclass(frozen=True)
class Plan:
    """What is to be generated."""

    seeds: list[int] | None  # None when the request carried latents
    latents: NDArray[np.float32]  # (n, latent_dim)
    labels: NDArray[np.int64] | None  # (n,)

    def __len__(self) -> int:
        return len(self.latents)


def parse_request(body: bytes, max_n: int) -> GenerateRequest:
    """The request of a JSON body; an empty body is `{}`.

    Raises:
        InvalidRequestError: naming the first field at fault, its value and what it may be.
    """
    try:
        return GenerateRequest.model_validate_json(body or b"{}")
    except ValidationError as error:
        raise _explain(error, max_n) from error


def make_plan(request: GenerateRequest, manifest: Manifest, max_n: int) -> Plan:
    """Resolve count, seeds, labels and latents.

    Raises:
        InvalidRequestError: fields that contradict each other or don't fit this generator.
    """
    n = _count(request, max_n)
    if request.latents is not None:
        latents = _given_latents(request.latents, manifest)
        labels = _labels(request.label, n, manifest)
        if labels is None and manifest.classes:
            raise InvalidRequestError(f"label is missing; with latents, give {_label_rule(manifest)}", "label")
        return Plan(None, latents, labels)
    if request.truncation is not None and manifest.latent.distribution != "normal":
        raise InvalidRequestError(
            f"truncation is {request.truncation}, but {manifest.name} has uniform latents; leave it out", "truncation"
        )
    seeds = _seeds(request, n)
    drawn = draw(
        seeds,
        manifest.latent.dim,
        manifest.latent.distribution,
        classes=manifest.classes,
        truncation=request.truncation,
    )
    labels = _labels(request.label, n, manifest)
    return Plan(seeds, drawn.latents, drawn.labels if labels is None else labels)


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
            raise InvalidRequestError(f"n is {_show(request.n)}, but {name} has {length} entries; leave n out", name)
    n = request.n or next(iter(lists.values()), 1)
    if n > max_n:
        param = "n" if request.n is not None else next(iter(lists))
        what = f"n is {_show(n)}" if param == "n" else f"{param} has {n} entries"
        raise InvalidRequestError(f"{what}; a request is for 1 to {max_n} images", param)
    if isinstance(request.label, list) and len(request.label) != n:
        raise InvalidRequestError(f"label has {len(request.label)} entries for {n} images; give one or {n}", "label")
    return n


def _seeds(request: GenerateRequest, n: int) -> list[int]:
    if request.seeds is not None:
        return request.seeds
    first = secrets.randbelow(SEED_LIMIT - n) if request.seed is None else request.seed
    if first + n > SEED_LIMIT:
        raise InvalidRequestError(f"seed is {first}; with n={n} it must be at most 2**53 - {n}", "seed")
    return list(range(first, first + n))


def _given_latents(rows: list[list[float]], manifest: Manifest) -> NDArray[np.float32]:
    dim = manifest.latent.dim
    for i, row in enumerate(rows):
        if len(row) != dim:
            raise InvalidRequestError(f"latents[{i}] has {len(row)} numbers; {manifest.name} needs {dim}", "latents")
    values = np.array(rows, np.float64)
    largest = float(np.abs(values).max())
    if largest > float(np.finfo(np.float32).max):
        raise InvalidRequestError(f"latents hold {largest:g}, which is no finite float32 number", "latents")
    return values.astype(np.float32)


def _labels(asked: int | str | Sequence[int | str] | None, n: int, manifest: Manifest) -> NDArray[np.int64] | None:
    if asked is None:
        return None
    if manifest.class_names is None:
        raise InvalidRequestError(
            f"label is {_show(asked)}, but {manifest.name} is unconditional; leave it out", "label"
        )
    if isinstance(asked, int | str):
        return np.full(n, _class_id(asked, manifest), np.int64)
    return np.array([_class_id(item, manifest) for item in asked], np.int64)


def _class_id(asked: int | str, manifest: Manifest) -> int:
    names = manifest.class_names or []
    if isinstance(asked, int):
        if asked < len(names):
            return asked
    elif asked in names:
        return names.index(asked)
    elif asked.isascii() and asked.isdigit() and int(asked) < len(names):
        return int(asked)
    raise InvalidRequestError(f"label is {_show(asked)}; {manifest.name} has {_label_rule(manifest)}", "label")


def _label_rule(manifest: Manifest) -> str:
    names = manifest.class_names or []
    shown = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
    return f"class ids from 0 to {len(names) - 1} and class names {shown}"


_RULES: Final = {
    "model": "a model's name, as listed by /models",
    "n": "a whole number from 1 to {max_n}",
    "seed": "a whole number with 0 <= seed < 2**53",
    "seeds": "a list of whole numbers with 0 <= seed < 2**53, one for each image",
    "label": "a class id (0 or more), a class name, or a list of them, one for each image",
    "latents": "a list of n rows of latent_dim finite numbers",
    "truncation": "a number above 0 and at most 10",
    "format": "one of json, png, npy, zip",
    "columns": "a whole number from 1 to 1000",
}


def _explain(error: ValidationError, max_n: int) -> InvalidRequestError:
    first = error.errors(include_url=False)[0]
    kind, where = first["type"], first["loc"]
    if kind == "json_invalid":
        detail = first["msg"].removeprefix("Invalid JSON: ")
        return InvalidRequestError(f"the body is not valid JSON: {detail}")
    if not where:
        return InvalidRequestError(f"the body is {_show(first['input'])}; it must be a JSON object")
    param = str(where[0])
    if kind == "extra_forbidden":
        return InvalidRequestError(
            f"{_show(param)} is no field of this request; known are {', '.join(_RULES)}", param[:_SHOWN]
        )
    place = param + "".join(f"[{part}]" for part in where[1:] if isinstance(part, int))
    rule = _RULES[param].format(max_n=max_n)
    return InvalidRequestError(f"{place} is {_show(first['input'])}; {param} must be {rule}", param)


def _show(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."
