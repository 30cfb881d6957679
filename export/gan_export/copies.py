"""Where in a file a known class's weights are: by its own names, whatever stands before them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Final, Literal

from torch import Tensor

from .refusal import IntakeError
from .state import (
    State,
    choose_state,
    clean_state,
    find_states,
    is_averaged,
    is_extra,
    joined,
    listed,
    nodes_of,
    of_another_net,
    rank_of,
    words_of,
)

_AVERAGES: Final = frozenset({"ema", "averaged", "average", "shadow", "swa"})
"""Words that nobody calls a layer."""


def find_copy(tree: Any, expected: Collection[str], weights: Literal["ema", "raw"]) -> tuple[str, State] | None:
    """The state dict that has each name a class expects and no other, and its dotted path; None if there is none.

    Args:
        tree: what the file holds.
        expected: the class's own names.
        weights: prefer averaged weights (`ema`) or the generator's own (`raw`).

    Raises:
        IntakeError: there are several, and their paths don't tell which it is; or averaged weights were wanted, and
            the file has some under other names.
    """
    states = find_states(tree)
    copies = dict(_copies(states, expected)) or dict(_copies(_cleaned(states), expected))
    copies = {path: state for path, state in copies.items() if not of_another_net(path)} or copies
    ranks = {path: rank_of(path, weights) for path in copies}
    best = [path for path, rank in ranks.items() if rank == min(ranks.values())]
    if not best:
        return None
    if len(best) > 1:
        raise IntakeError(f"{len(best)} state dicts fit the class: {listed(best)}; choose with --weights-key")
    if weights == "ema" and not is_averaged(best[0]):
        if _average_by_name(tree):
            return None
        _refuse_other_average(tree, best[0])
    return best[0], copies[best[0]]


def _average_by_name(tree: Any) -> bool:
    """Whether the names in the file lead to averaged weights, of which something is missing then or too much."""
    try:
        return is_averaged(choose_state(tree, None, "ema")[0])
    except IntakeError:
        return False


def _cleaned(states: Mapping[str, State]) -> dict[str, State]:
    return {path: clean_state(state) for path, state in states.items()}


def _copies(states: Mapping[str, State], expected: Collection[str]) -> Iterator[tuple[str, State]]:
    """Whole copies of what is expected, by their paths; counters of batches may be missing."""
    needed = {key for key in expected if not key.endswith("num_batches_tracked") and not is_extra(key)}
    if not needed:
        return
    longest = max(needed, key=len)
    for path, state in states.items():
        for key in state:
            if key == longest or key.endswith(f".{longest}"):
                head = key.removesuffix(longest)
                below = {name.removeprefix(head): value for name, value in state.items() if name.startswith(head)}
                if needed <= {key for key in below if not is_extra(key)} <= set(expected):
                    yield joined(path, head.rstrip(".")), below


def _refuse_other_average(tree: Any, chosen: str) -> None:
    """Some libraries keep the average under names of their own, or as a list of tensors without names.

    Raises IntakeError for one that is neither in the chosen state dict nor another net's.
    """
    for path, node in nodes_of(tree):
        for key, value in node.items():
            where = joined(path, str(key))
            place = where.rpartition(".")[0] if isinstance(value, Tensor) else where
            if f"{where}.".startswith(f"{chosen}." if chosen else "") or of_another_net(place):
                continue
            if _AVERAGES & words_of(place) and _holds_weights(value):
                raise IntakeError(
                    f"the file has averaged weights at {listed([place])} as well, under other names than the class's: "
                    "save the generator's state_dict() with the average copied into it, or give --weights raw"
                )


def _holds_weights(value: Any) -> bool:
    if isinstance(value, Tensor):
        return value.is_floating_point() and value.ndim > 0
    return isinstance(value, Sequence) and any(isinstance(one, Tensor) and one.ndim > 0 for one in value)
