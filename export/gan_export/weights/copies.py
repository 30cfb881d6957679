"""Where in a file a known class's weights are: by its own names, whatever stands before them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any, Literal

from gan_export.refusal import IntakeError

from .state import (
    State,
    choose_state,
    clean_state,
    find_states,
    is_averaged,
    is_extra,
    joined,
    listed,
    of_another_net,
    rank_of,
    refuse_other_average,
)


def find_copy(tree: Any, expected: Collection[str], weights: Literal["ema", "raw"]) -> tuple[str, State] | None:
    """The state dict that has each name a class expects and no other, and its dotted path; None if there is none.

    Args:
        tree: what the file holds.
        expected: the class's own names.
        weights: prefer averaged weights (`ema`) or the generator's own (`raw`).

    Raises:
        IntakeError: there are several, and their paths don't tell which it is; or averaged weights were wanted, and
            the file has some without these names.
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
        refuse_other_average(tree, chosen=best[0])
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
