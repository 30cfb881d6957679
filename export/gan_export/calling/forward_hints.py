"""What the signature of a forward tells of its arguments."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from torch import nn

from gan_export.conventions import INPUT_NAMES, LABEL_NAMES, LATENT_NAMES, Order
from gan_export.refusal import IntakeError

FIRST_NAMES: Final = LATENT_NAMES | INPUT_NAMES
GIVEN_ALONE: Final = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


class Hints(NamedTuple):
    """What the names of a forward's arguments say; None is to be found out."""

    order: Order | None
    label_name: str | None  # by which the label has to be passed; None: by position
    takes_label: bool  # perhaps


def hints_of(module: nn.Module, extras: Mapping[str, Any]) -> Hints:
    """What the names of forward's arguments say.

    Raises:
        IntakeError: forward has no argument of a name among `extras`.
    """
    given = inspect.signature(module.forward).parameters
    unknown = [name for name in extras if name not in given]
    if unknown and not any(one.kind is one.VAR_KEYWORD for one in given.values()):
        raise IntakeError(f"--forward {unknown[0]}: no such argument of forward({', '.join(given)})")
    parameters = [one for one in given.values() if one.name not in extras]
    by_position = [one for one in parameters if one.kind in GIVEN_ALONE]
    if len(by_position) > 1 and by_position[1].name != [*given][1] and _is_label(by_position[1]):
        return Hints("latent_first", by_position[1].name, True)  # behind something that is given by name
    if any(one.kind is one.VAR_POSITIONAL for one in parameters):
        return Hints(None, None, True)
    first = by_position[:2]
    later = next((one.name for one in parameters if one not in first and _is_label(one)), None)
    if later is not None and not any(map(_is_label, first)):
        return Hints("latent_first", later, True)
    return _hints_of_two(*first) if len(first) == 2 else Hints("latent_first", None, False)


def _hints_of_two(first: inspect.Parameter, second: inspect.Parameter) -> Hints:
    """What the names of the first two arguments say, which are given by position."""
    if _is_label(first) != _is_label(second):
        return Hints("label_first" if _is_label(first) else "latent_first", None, True)
    is_known = first.name.lower() in FIRST_NAMES and second.name.lower() not in FIRST_NAMES
    # (z, truncation=1.0) takes no label, (z, extra=None) may.
    may_be_label = second.default in (inspect.Parameter.empty, None)
    return Hints("latent_first" if is_known else None, None, may_be_label)


def _is_label(parameter: inspect.Parameter) -> bool:
    return parameter.name.lower() in LABEL_NAMES


def parameters_of(module: nn.Module, extras: Mapping[str, Any]) -> dict[str, inspect.Parameter]:
    """Of forward, without those that are given by name."""
    return {name: one for name, one in inspect.signature(module.forward).parameters.items() if name not in extras}


def second_of_no_known_name(parameters: Mapping[str, inspect.Parameter]) -> str | None:
    """The second argument that forward needs, where neither of the first two has the name of a label."""
    needed = [one.name for one in parameters.values() if one.default is one.empty and one.kind in GIVEN_ALONE][:2]
    return needed[1] if len(needed) > 1 and not {name.lower() for name in needed} & LABEL_NAMES else None
