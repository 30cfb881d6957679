"""Which generator is meant."""

from __future__ import annotations

from .client import GanClient
from .errors import InvalidArgumentError, one_line
from .labels import nearest
from .types import ModelInfo


def model_named(client: GanClient, name: str | None) -> ModelInfo:
    """What the service says of the generator `name`, or of its default one. Raises GanError."""
    infos = client.models.list()
    for info in infos:
        if info.name == name or (name is None and (info.default or len(infos) == 1)):
            return info
    names = one_line(", ".join(info.name for info in infos), 300) or "none"
    if name is None:
        raise InvalidArgumentError(
            f"the service names no default generator: give a model, one of {names}", param="model"
        )
    near = nearest(name, [info.name for info in infos])
    advice = "the service has" if near is None else f"did you mean {near!r}? The service has"
    raise InvalidArgumentError(f"model is {name!r}: {advice} {names}", param="model")
