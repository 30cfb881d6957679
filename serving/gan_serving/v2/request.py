"""The body of an inference request -> what is asked for, checked as far as that needs no generator's images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gan_export.artifact import IMAGE_OUTPUT, LABEL_INPUT, LATENT_INPUT, PIXELS_OUTPUT, SEED_LIMIT, Manifest, draw
from gan_serving.batching.jobs import Inputs
from gan_serving.errors import InvalidRequestError
from gan_serving.messages import show
from gan_serving.models.registry import VERSION

from .tensors import Rule, read_tensors
from .wire import an_object, parse_object, split_body

SEED_INPUT: Final = "seed"
LONGEST_ID: Final = 1024
"""Characters of a request's `id`."""

# The protocol's own examples repeat the model in the body; the path decides, and must not be contradicted.
_FIELDS: Final = ("id", "model_name", "model_version", "parameters", "inputs", "outputs")
_PARAMETERS: Final = ("binary_data_output", "timeout")


@dataclass(frozen=True)
class Inference:
    """What a request asks for."""

    id: str | None
    latents: NDArray[np.float32] | None  # (n, latent_dim); None when seeds are given
    seeds: NDArray[Any] | None  # (n,) int64 or uint64
    labels: NDArray[np.int64] | None  # (n,); None when unconditional, or when the seeds choose
    binary: bool  # whether the image goes out as binary data
    timeout: float | None  # seconds

    def __len__(self) -> int:
        tensor = self.seeds if self.latents is None else self.latents
        assert tensor is not None
        return len(tensor)

    def parts(self, manifest: Manifest, size: int) -> Iterator[Inputs]:
        """Latents and labels of at most `size` images at a time; seeds are drawn when their part's turn comes."""
        for start in range(0, len(self), size):
            part = slice(start, start + size)
            labels = None if self.labels is None else self.labels[part]
            if self.latents is not None:
                yield Inputs(self.latents[part], labels)
                continue
            assert self.seeds is not None
            drawn = draw(
                self.seeds[part].tolist(),
                manifest.latent.dim,
                manifest.latent.distribution,
                classes=manifest.classes,
            )
            yield Inputs(drawn.latents, drawn.labels if labels is None else labels)


def input_rules(manifest: Manifest) -> list[Rule]:
    """The inputs that a generator takes: its own, and `seed` instead of `z`."""
    rules = [Rule(LATENT_INPUT, ("FP32",), (manifest.latent.dim,)), Rule(SEED_INPUT, ("INT64", "UINT64"))]
    if manifest.classes:
        rules.append(Rule(LABEL_INPUT, ("INT64",)))
    return rules


def parse_inference(body: bytes, header_length: str | None, manifest: Manifest, max_n: int) -> Inference:
    """What a body asks of this generator.

    Args:
        body: no longer compressed.
        header_length: value of the Inference-Header-Content-Length header, if there is one.
        manifest: of the generator.
        max_n: images in a request at most.

    Raises:
        InvalidRequestError: naming what is wrong, and what is allowed.
    """
    text, binary = split_body(body, header_length)
    rules = input_rules(manifest)
    content = parse_object(text, rows=max_n, values=max_n * sum(rule.row_values for rule in rules))
    _check_fields(content, manifest)
    parameters = _parameters(content)
    tensors = read_tensors(content.get("inputs"), binary, rules, max_n)
    latents, seeds, labels = tensors.get(LATENT_INPUT), tensors.get(SEED_INPUT), tensors.get(LABEL_INPUT)
    if (latents is None) == (seeds is None):
        problem = "neither is" if latents is None else "both are"
        raise InvalidRequestError(f"z and seed exclude each other, but {problem} given; give one of them", "z")
    if seeds is not None:
        _check_range(seeds, SEED_LIMIT, SEED_INPUT, "0 <= seed < 2**53")
    if labels is not None:
        _check_range(labels, manifest.classes, LABEL_INPUT, f"class ids from 0 to {manifest.classes - 1}")
    elif manifest.classes and seeds is None:
        raise InvalidRequestError(
            f"label is missing; with z, give class ids from 0 to {manifest.classes - 1}", LABEL_INPUT
        )
    return Inference(
        _id(content),
        latents,
        seeds,
        labels,
        _output_is_binary(content.get("outputs"), parameters.get("binary_data_output", False)),
        None if (timeout := parameters.get("timeout")) is None else timeout / 1e6,
    )


def _check_fields(content: Mapping[str, Any], manifest: Manifest) -> None:
    for field in content:
        if field not in _FIELDS:
            raise InvalidRequestError(f"unknown field {show(field)}; expected one of {', '.join(_FIELDS)}")
    name = content.get("model_name", manifest.name)
    if name != manifest.name:
        raise InvalidRequestError(
            f"model_name is {show(name)}, but the path names {manifest.name}; leave it out", "model_name"
        )
    version = content.get("model_version", VERSION)
    if str(version) not in (VERSION, ""):  # empty: any, in the protocol's own messages
        raise InvalidRequestError(
            f"model_version is {show(version)}, but {manifest.name} has the version {VERSION}; leave it out",
            "model_version",
        )


def _id(content: Mapping[str, Any]) -> str | None:
    given = content.get("id")
    if given is None or (isinstance(given, str) and len(given) <= LONGEST_ID):
        return given
    raise InvalidRequestError(f"id is {show(given)}; it must be a string of at most {LONGEST_ID} characters", "id")


def _parameters(content: Mapping[str, Any]) -> dict[str, Any]:
    parameters = an_object(content.get("parameters", {}), "parameters")
    for key in parameters:
        if key not in _PARAMETERS:
            raise InvalidRequestError(
                f"unknown parameter {show(key)}; expected one of {', '.join(_PARAMETERS)}", "parameters"
            )
    _check_flag(parameters.get("binary_data_output", False), "binary_data_output")
    timeout = parameters.get("timeout", 1)
    if type(timeout) is not int or not 1 <= timeout < 2**63:
        raise InvalidRequestError(
            f"timeout is {show(timeout)}; it must be a number of microseconds, 1 or more", "timeout"
        )
    return parameters


def _output_is_binary(outputs: object, default: bool) -> bool:
    if outputs is None or outputs == []:
        return default
    if not isinstance(outputs, list) or len(outputs) > 1:
        raise InvalidRequestError(f"outputs is {show(outputs)}; the one output here is {IMAGE_OUTPUT}", "outputs")
    (entry,) = (an_object(output, "an entry of outputs") for output in outputs)
    name, parameters = entry.get("name"), an_object(entry.get("parameters", {}), "parameters of the output")
    if name == PIXELS_OUTPUT:
        raise InvalidRequestError(
            f"the output {PIXELS_OUTPUT} (float) is not served; ask for {IMAGE_OUTPUT}, which is uint8", "outputs"
        )
    if name != IMAGE_OUTPUT:
        raise InvalidRequestError(f"{show(name)} is not an output of this model; it has {IMAGE_OUTPUT}", "outputs")
    for key in parameters:
        if key != "binary_data":
            raise InvalidRequestError(
                f"unknown parameter {show(key)} of {IMAGE_OUTPUT}; expected binary_data "
                "(neither classification nor shared memory is offered)",
                "outputs",
            )
    return _check_flag(parameters.get("binary_data", default), "binary_data")


def _check_flag(value: object, name: str) -> bool:
    if isinstance(value, bool):
        return value
    raise InvalidRequestError(f"{name} is {show(value)}; it must be true or false", name)


def _check_range(values: NDArray[Any], limit: int, name: str, rule: str) -> None:
    wrong = (values < 0) | (values >= limit)
    if wrong.any():
        first = int(wrong.argmax())
        raise InvalidRequestError(f"{name}[{first}] is {values[first]}; {rule}", name)
