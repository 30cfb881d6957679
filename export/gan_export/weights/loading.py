"""Loading the weights of a file into a net, all of them or none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import torch
from torch import Tensor, nn

from gan_export.refusal import IntakeError
from gan_export.user_code.errors import one_line_errors

from .state import State, is_extra, shown

Shapes = Mapping[str, Sequence[int]]

_STATISTICS: Final = " (averaged weights are often saved without BatchNorm's statistics: use those that have them)"


class MisfitError(IntakeError):
    """Weights whose names or shapes are not a net's."""


def load_exactly(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Load a state dict of which nothing is missing, left over or of another shape.

    Counters of batches (`num_batches_tracked`) may be missing: an eval-mode net does not use them. So may one of two
    names of the same parameter.

    Raises:
        MisfitError: one line with the first key of each kind that does not fit.
        IntakeError: numbers of a kind that a parameter can't have, or the module's own code fails as it takes them.
    """
    expected = module.state_dict()
    name = type(module).__name__
    # Where a class saves nothing beside tensors, the file may have None there, and the other way round.
    state = {key: value for key, value in state.items() if key in expected or not _is_nothing(key, value)}
    needed = {key: value for key, value in expected.items() if key in state or not _is_nothing(key, value)}
    state = state | {key: value for key, value in _tied(module, state).items() if key in expected}
    difference = differences(_shapes(needed), _shapes(state))
    if difference:
        raise MisfitError(f"the weights don't fit {name}: {'; '.join(difference)}")
    _refuse_other_numbers(module, state)
    hint = "leave out what the class does there itself"
    with one_line_errors(f"{name}.load_state_dict fails, though names and shapes fit", hint):
        module.load_state_dict(expected | state)


def _tied(module: nn.Module, state: State) -> State:
    """Parameters that the file lacks and that are others under a second name: safetensors keeps one of them."""
    given: dict[int, Tensor] = {}
    missing: dict[str, int] = {}
    for key, parameter in module.named_parameters(remove_duplicate=False):
        if key in state:
            given[id(parameter)] = state[key]
        else:
            missing[key] = id(parameter)
    return {key: given[one] for key, one in missing.items() if one in given}


def _refuse_other_numbers(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Integers, truth values and complex numbers for parameters of floats: copied, they would draw other images."""
    wrong = [
        (key, state[key].dtype, parameter.dtype)
        for key, parameter in module.named_parameters(remove_duplicate=False)
        if key in state and parameter.is_floating_point() and not state[key].is_floating_point()
    ]
    if wrong:
        key, found, expected = wrong[0]
        others = f", and {len(wrong) - 1} more are not floats" * (len(wrong) > 1)
        raise IntakeError(
            f"{shown(key)} holds {_dtype(found)}, not {_dtype(expected)}{others}; if they were quantised, multiply the "
            "scales in and save the weights as floats"
        )


def differences(expected: Shapes, found: Shapes) -> list[str]:
    """What is missing, unexpected and of another shape: a phrase for each kind that occurs; empty if all fits."""
    missing = [key for key in expected if key not in found and not key.endswith("num_batches_tracked")]
    extra = [key for key in found if key not in expected]
    wrong = [key for key in expected if key in found and tuple(expected[key]) != tuple(found[key])]
    phrases = []
    if missing:
        phrases.append(f"{shown(missing[0])}{_more(missing)} missing{_STATISTICS * all(map(_is_statistic, missing))}")
    if extra:
        phrases.append(f"{shown(extra[0])}{_more(extra)} not expected")
    if wrong:
        shapes = f"has shape {tuple(found[wrong[0]])}, not {tuple(expected[wrong[0]])}"
        phrases.append(
            f"{shown(wrong[0])} {shapes}" + (f", and {len(wrong) - 1} more of another shape" * (len(wrong) > 1))
        )
    return phrases


def _shapes(state: Mapping[str, Any]) -> Shapes:
    return {key: () if is_extra(key) else value.shape for key, value in state.items()}


def _is_nothing(key: str, value: Any) -> bool:
    return is_extra(key) and value is None


def _dtype(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _is_statistic(key: str) -> bool:
    return key.endswith(("running_mean", "running_var"))


def _more(keys: Sequence[str]) -> str:
    return f" and {len(keys) - 1} more are" if len(keys) > 1 else " is"
