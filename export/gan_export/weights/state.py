"""From what a weights file holds to the state dict of one generator, in plain weights."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final, Literal

from torch import Tensor

from gan_export.refusal import IntakeError

State = dict[str, Tensor]  # that of a file may also have, at keys that `is_extra`, None or anything else

MAX_DEPTH = 16  # levels of nesting that are searched
MAX_NAMED = 8  # keys that a message lists
MAX_KEY = 80  # characters of a key that a message shows
EXTRA: Final = "_extra_state"  # PyTorch's last name of a key

_WORDS: Final = re.compile(r"\d+[A-Za-z]*|[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+")
_GENERATOR: Final = frozenset({"g", "gs", "gen", "generator", "gnet", "netg", "online"})
_AVERAGED: Final = frozenset(
    {"ema", "gs", "ge", "avg", "averaged", "average", "shadow", "swa", "running", "smooth", "smoothed"}
)
_ONLY_AVERAGED: Final = frozenset({"ema", "averaged", "average", "shadow", "swa"})  # nobody calls a layer so
_OTHERS: Final = frozenset(
    {"d", "dis", "disc", "discriminator", "critic", "netd", "dnet", "classifier", "encoder"}
    | {
        "opt",
        "optim",
        "optimizer",
        "optimizers",
        "optimiser",
        "optimisers",
        "adam",
        "sched",
        "scheduler",
        "scaler",
        "rng",
    }
)
_PLAIN: Final = frozenset({"model", "module", "net", "network", "state", "dict", "params", "parameters", "weights"})
_OPTIMIZER: Final = frozenset({"param_groups", "exp_avg", "momentum_buffer", "square_avg"})  # keys of its state
_ROOT: Final = "(the file itself)"
_NAMELESS: Final = (
    "the averaged weights at {} don't have the generator's own names; save its state_dict() with the average copied "
    "into it"
)


def find_states(tree: Any) -> dict[str, State]:
    """Every nested dict that looks like a state dict, by its dotted path; "" is the tree itself.

    A state dict maps strings to tensors, and one of them at least is of floats with two dimensions or more. Only what
    a class saves beside tensors (`is_extra`) may be anything. Numbers and text that were put between the tensors of a
    module, such as an epoch, are left out; so is what an optimizer keeps.
    """
    return {path: _without_notes(node) for path, node in nodes_of(tree) if _is_state(node)}


def choose_state(
    tree: Any, key: str | None, weights: Literal["ema", "raw"], expected: Collection[str] = ()
) -> tuple[str, State]:
    """The generator's state dict, and the dotted path where it was found.

    Args:
        tree: what the file holds.
        key: the path to take (`--weights-key`), or None to go by the names.
        weights: prefer averaged weights (`ema`) or the generator's own (`raw`).
        expected: the generator's own names, where its class is known.

    Raises:
        IntakeError: there is none, or the names don't tell which it is; or averaged weights were wanted, and the file
            has some that are without the generator's names.
    """
    states = find_states(tree)
    if key is not None:
        return key, _named(states, key)
    if not states:
        raise IntakeError(_nothing(tree))
    nets = _split(states)
    ranks = {path: rank_of(path, weights) for path in nets if not of_another_net(path)}
    if not ranks:
        raise IntakeError(
            f"only weights of networks other than a generator: {listed(nets)}; if one of them is the generator, give "
            "--weights-key"
        )
    chosen = [path for path, rank in ranks.items() if rank == min(ranks.values())]
    if len(chosen) > 1:
        raise IntakeError(
            f"{len(chosen)} state dicts could be the generator: {listed(chosen)}; choose with --weights-key"
        )
    if weights == "ema" and not is_averaged(chosen[0]):
        refuse_other_average(tree, layers=words_of(".".join(expected)))
    return chosen[0], nets[chosen[0]]


def is_averaged(path: str) -> bool:
    """Whether a path that `choose_state` returned names averaged weights."""
    return bool(_AVERAGED & words_of(path))


def clean_state(state: Mapping[str, Tensor]) -> State:
    """Without what wrappers add to the keys: DataParallel, torch.compile and AveragedModel."""
    cleaned = {key.replace("_orig_mod.", ""): value for key, value in state.items()}
    inner = [key for key in cleaned if key != "n_averaged"]
    while inner and all(key.startswith("module.") for key in inner):
        cleaned = {key.removeprefix("module."): cleaned[key] for key in inner}
        inner = list(cleaned)
    return cleaned


def unwrap(state: Mapping[str, Tensor], expected: Collection[str]) -> State:
    """Without the names that stand before every key, where that makes more of the keys expected ones.

    If all that is expected stands below one name, beside other nets, it is that part alone.

    Args:
        state: of a generator that was saved as a part of something, `generator.main.0.weight` and so on.
        expected: the keys of the net that it is for.
    """
    best = _without_heads(state, expected)
    needed = [key for key in expected if not key.endswith("num_batches_tracked")]
    if not needed or set(needed) <= best.keys():
        return best
    tail = f".{max(needed, key=len)}"
    holders = [key.removesuffix(tail) for key in state if key.endswith(tail)]
    whole = [head for head in holders if all(f"{head}.{key}" in state for key in needed)]
    return _below(state, whole[0]) if len(whole) == 1 else best


def _without_heads(state: Mapping[str, Tensor], expected: Collection[str]) -> State:
    """Without as many first names, common to all keys, as makes most of them expected ones."""
    best = current = dict(state)
    while len(heads := {key.partition(".")[0] for key in current}) == 1 and all("." in key for key in current):
        current = _below(current, heads.pop())
        if len(current.keys() & set(expected)) > len(best.keys() & set(expected)):
            best = current
    return best


def shown(key: str) -> str:
    """A key of a file, fit for a message of one line."""
    return repr(key if len(key) <= MAX_KEY else f"{key[:MAX_KEY]}...")


def is_extra(key: str) -> bool:
    """Whether a key of a state dict is that of what a class saves beside tensors (`get_extra_state`)."""
    return key.rpartition(".")[2] == EXTRA


def tensors_of(state: Mapping[str, Any]) -> State:
    """Without what a class saves beside tensors."""
    return {key: value for key, value in state.items() if isinstance(value, Tensor)}


def nodes_of(tree: Any) -> Iterator[tuple[str, Mapping[Any, Any]]]:
    """All dicts of a tree with their paths; what is met again is not searched again (a pickle may hold itself)."""
    seen: set[int] = set()
    pending: deque[tuple[tuple[str, ...], Any]] = deque([((), tree)])
    while pending:
        path, node = pending.popleft()
        if isinstance(node, Mapping):
            if _OPTIMIZER & node.keys():
                continue
            yield ".".join(path), node
        if id(node) in seen or len(path) == MAX_DEPTH:
            continue
        seen.add(id(node))
        items = node.items() if isinstance(node, Mapping) else enumerate(node) if isinstance(node, list | tuple) else ()
        pending += [
            ((*path, str(key)), value)
            for key, value in items
            if isinstance(value, Mapping | list | tuple) and not is_extra(str(key))
        ]


def _is_state(node: Mapping[Any, Any]) -> bool:
    state = _without_notes(node)
    if not all(isinstance(key, str) and (isinstance(value, Tensor) or is_extra(key)) for key, value in state.items()):
        return False
    weights = [key for key, value in tensors_of(state).items() if value.is_floating_point() and value.ndim >= 2]
    # Beside notes, one array alone may be anything: a module's weight has the name of its layer before its own.
    return any("." in key for key in weights) if len(state) < len(node) else bool(weights)


def _without_notes(node: Mapping[Any, Any]) -> dict[Any, Any]:
    return {key: value for key, value in node.items() if is_extra(str(key)) or not isinstance(value, int | float | str)}


def words_of(path: str) -> frozenset[str]:
    """Of `netG_ema.state_dict`: net, g, ema, state, dict."""
    return frozenset(word.lower() for word in _WORDS.findall(path))


def rank_of(path: str, weights: str) -> tuple[bool, bool, bool]:
    """The lower, the likelier that it is what is wanted."""
    words = words_of(path)
    return is_averaged(path) != (weights == "ema"), not _GENERATOR & words, not (_PLAIN | _AVERAGED) & words


def _split(states: Mapping[str, State]) -> dict[str, State]:
    """State dicts of two nets, `generator.x` and `discriminator.x`, taken apart by the first name."""
    nets: dict[str, State] = {}
    for path, state in states.items():
        cleaned = clean_state(state)
        heads = dict.fromkeys(key.partition(".")[0] for key in cleaned if "." in key)
        wanted = [head for head in heads if (_GENERATOR | _AVERAGED) & words_of(head) and not _OTHERS & words_of(head)]
        others = [head for head in heads if _OTHERS & words_of(head)]
        if not wanted or len(wanted) + len(others) < 2:
            nets[path] = state
            continue
        for head in wanted:
            nets[f"{path}.{head}".lstrip(".")] = _below(cleaned, head)
    return nets


def _below(state: Mapping[str, Tensor], head: str) -> State:
    return {key.removeprefix(f"{head}."): value for key, value in state.items() if key.startswith(f"{head}.")}


def _named(states: Mapping[str, State], key: str) -> State:
    """The state dict at `key`, the only one below it, or the keys of a state dict that begin with it."""
    if key in states:
        return states[key]
    below = [state for path, state in states.items() if path.startswith(f"{key}.")]
    for path, state in states.items():
        if path == "" or key.startswith(f"{path}."):
            below.append(_below(state, key[len(path) :].lstrip(".")))
    below = [state for state in below if state]
    if len(below) != 1:
        raise IntakeError(f"--weights-key {shown(key)}: there is no state dict; there are: {listed(_split(states))}")
    return below[0]


def _nothing(tree: Any) -> str:
    average = _average_elsewhere(tree)
    if average is not None:
        return _NAMELESS.format(average)
    if not isinstance(tree, Mapping):
        return f"the file holds a {type(tree).__name__}, not a state dict; save generator.state_dict()"
    if "param_groups" in tree:
        return "the file holds the state of an optimizer but no weights; save generator.state_dict()"
    if not tree:
        return "the file's dict is empty: save generator.state_dict()"
    for path, node in nodes_of(tree):
        tensors = tensors_of(node)
        key = next((key for key, value in tensors.items() if value.ndim >= 2), None)
        if key is not None and not any(value.is_floating_point() for value in tensors.values()):
            kind = str(tensors[key].dtype).removeprefix("torch.")
            return f"{shown(joined(path, key))} holds {kind}, and weights are floats; save them as floats"
    return f"no state dict in the file, only: {listed([str(key) for key in tree])}; save generator.state_dict()"


def refuse_other_average(tree: Any, *, layers: Collection[str] = (), chosen: str | None = None) -> None:
    """Some libraries keep the average under names of their own, or as a list of tensors in the order of `parameters()`.

    Args:
        tree: what the file holds.
        layers: words that the generator's class has in its own names, and that say nothing of averages.
        chosen: path of what that class's names were found below: nothing there is another average. None: not found.

    Raises:
        IntakeError: there is such an average, and it is not that of another net.
    """
    average = _average_elsewhere(tree, layers, chosen)
    if average is not None:
        raise IntakeError(f"{_NAMELESS.format(average)}, or give --weights raw")


def _average_elsewhere(tree: Any, layers: Collection[str] = (), chosen: str | None = None) -> str | None:
    """Where averaged weights are that no state dict by the generator's names is; words in `layers` say nothing."""
    for path, node in nodes_of(tree):
        for key, value in node.items():
            where = joined(path, str(key))
            place = where.rpartition(".")[0] if isinstance(value, Tensor) else where
            is_own = chosen is not None and f"{where}.".startswith(f"{chosen}." if chosen else "")
            is_named = _ONLY_AVERAGED.difference(layers) & words_of(place)
            if not is_own and not of_another_net(place) and is_named and _holds_weights(value):
                return listed([place])
    return None


def _holds_weights(value: Any) -> bool:
    if isinstance(value, Tensor):
        return value.is_floating_point() and value.ndim > 0
    return isinstance(value, list | tuple) and any(isinstance(one, Tensor) and one.ndim > 0 for one in value)


def joined(path: str, key: str) -> str:
    """The path of what is at `key` below `path`; either may be empty."""
    return f"{path}.{key}".strip(".")


def of_another_net(path: str) -> bool:
    """Whether a path names a discriminator, an optimizer or the like."""
    return bool(_OTHERS & words_of(path))


def listed(paths: Collection[str]) -> str:
    """Paths or keys of a file, fit for a message of one line."""
    names = [shown(path) if path else _ROOT for path in paths]
    return ", ".join(names[:MAX_NAMED]) + (f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else "")
