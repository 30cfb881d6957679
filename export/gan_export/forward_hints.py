"""What the signature of a forward tells of its arguments."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, Final

from torch import nn

from .conventions import INPUT_NAMES, LABEL_NAMES, LATENT_NAMES, Order
from .refusal import IntakeError

FIRST_NAMES: Final = LATENT_NAMES | INPUT_NAMES
GIVEN_ALONE: Final = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def hints_of(module: nn.Module, extras: Mapping[str, Any]) -> tuple[Order | None, str | None, bool]:
    """What the names of forward's arguments tell: the order, the label's keyword, whether a label can be given."""
    given = inspect.signature(module.forward).parameters
    unknown = [name for name in extras if name not in given]
    if unknown and not any(one.kind is one.VAR_KEYWORD for one in given.values()):
        raise IntakeError(f"--forward {unknown[0]}: no such argument of forward({', '.join(given)})")
    parameters = [one for one in given.values() if one.name not in extras]
    by_position = [one for one in parameters if one.kind in GIVEN_ALONE]
    if len(by_position) > 1 and by_position[1].name != [*given][1] and by_position[1].name.lower() in LABEL_NAMES:
        return "latent_first", by_position[1].name, True  # behind something that is given by name
    names = [one.name.lower() for one in by_position[:2]]
    later = [one for one in parameters if one not in by_position[:2] and one.name.lower() in LABEL_NAMES]
    if any(one.kind is one.VAR_POSITIONAL for one in parameters):
        return None, None, True
    if later and not set(names) & LABEL_NAMES:
        return "latent_first", later[0].name, True
    if len(by_position) < 2:
        return "latent_first", None, False
    if names[1] in LABEL_NAMES and names[0] not in LABEL_NAMES:
        return "latent_first", None, True
    if names[0] in LABEL_NAMES and names[1] not in LABEL_NAMES:
        return "label_first", None, True
    if names[0] in FIRST_NAMES and names[1] not in FIRST_NAMES:
        # (z, truncation=1.0) takes no label, (z, extra=None) may.
        return "latent_first", None, by_position[1].default in (inspect.Parameter.empty, None)
    return None, None, by_position[1].default in (inspect.Parameter.empty, None)


def parameters_of(module: nn.Module, extras: Mapping[str, Any]) -> dict[str, inspect.Parameter]:
    """Of forward, without those that are given by name."""
    return {name: one for name, one in inspect.signature(module.forward).parameters.items() if name not in extras}


def second_of_no_known_name(parameters: Mapping[str, inspect.Parameter]) -> str | None:
    """The second argument that forward needs, where neither of the first two has the name of a label."""
    needed = [one.name for one in parameters.values() if one.default is one.empty and one.kind in GIVEN_ALONE][:2]
    return needed[1] if len(needed) > 1 and not {name.lower() for name in needed} & LABEL_NAMES else None
