"""Which layers may be in int8: as much work as the error allows.

A layer's error when it alone is in int8 tells what it adds to that of others, near enough to put layers in an order:
those first that save most work for it. Whether a choice is good enough is always looked at. A look costs a graph and
images, so there are few: one for each layer, and some more that grow with the logarithm of their number, and with the
number of layers that stay in float32.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Final, Protocol, TypeVar

RISK: Final = 2  # times the work, for which an image may be as far off as it is allowed to be


class Measured(Protocol):
    """What is seen of the images that a choice draws."""

    @property
    def error(self) -> float:
        """Mean square over all pixels."""
        ...

    @property
    def distance(self) -> float:
        """From what the images should be, 1 where it begins to be too much."""
        ...

    @property
    def may_pass(self) -> bool:
        """Whether it may be near enough all the same."""
        ...


AnyMeasured = TypeVar("AnyMeasured", bound=Measured)


def choose(
    costs: Mapping[str, float], measure: Callable[[tuple[str, ...]], AnyMeasured]
) -> tuple[tuple[str, ...], AnyMeasured]:
    """Layers for int8, and what is seen with them.

    One layer that may pass takes the place of all that are near enough, if it has more than RISK times their work. If
    there is none of either kind, it is the nearest layer.

    Args:
        costs: what each layer would cost in float32, as operations an image.
        measure: draws with some layers in int8, in the order of `costs`; it remembers what it has drawn.
    """
    layers = tuple(costs)

    def with_(chosen: Collection[str]) -> AnyMeasured:
        return measure(tuple(layer for layer in layers if layer in chosen))

    if with_(layers).distance <= 1:
        return layers, with_(layers)
    alone = {layer: with_([layer]) for layer in layers}
    order = sorted(layers, key=lambda layer: alone[layer].error / costs[layer])
    chosen = set(order[: _most(len(order) - 1, lambda count: with_(order[:count]).distance <= 1)])
    for layer in sorted(layers, key=lambda each: -costs[each]):
        if layer not in chosen and with_({*chosen, layer}).distance <= 1:
            chosen.add(layer)
    risky = max((layer for layer in layers if alone[layer].may_pass), key=lambda layer: costs[layer], default=None)
    if risky is not None and costs[risky] > RISK * sum(costs[layer] for layer in chosen):
        chosen = {risky}
    chosen = chosen or {min(alone, key=lambda layer: alone[layer].distance)}
    return tuple(layer for layer in layers if layer in chosen), with_(chosen)


def _most(most: int, holds: Callable[[int], bool]) -> int:
    """The largest count up to `most` that holds, if with each count all smaller ones do; none always does."""
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if holds(middle) else (low, middle - 1)
    return low
