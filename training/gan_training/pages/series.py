"""The numbers behind a run's curves: from lines of metrics.jsonl to steps and values that can be drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from .measures import Group, grouped

Array = NDArray[np.float64]
History = Sequence[dict[str, float]]
"""Lines of metrics.jsonl."""
Series = dict[str, tuple[Array, Array]]
"""Steps and values (n,) of each measure."""

POINTS: Final = 1000  # of a curve at most
_SMOOTH: Final = 200  # points of the running mean at most
_WINDOW: Final = 9  # of those, averaged
_LARGEST: Final = 1e30  # beyond it a value is a gap, like NaN


def drawable(history: History) -> list[tuple[Group, Series]]:
    """The curves of each group that has at least one finite value."""
    lines = [line for line in history if np.isfinite(line.get("step", np.nan))]
    found = []
    for group, names in grouped(lines):
        series = {name: _series(lines, name) for name in names}
        drawn = {name: pair for name, pair in series.items() if np.isfinite(pair[1]).any()}
        if drawn:
            found.append((group, drawn))
    return found


def thin(steps: Array, values: Array, points: int = POINTS) -> tuple[Array, Array]:
    """At most `points` (even) of (n,) values: of each stretch the least and the largest, so that no spike is lost."""
    if len(values) <= points:
        return steps, values
    kept: list[int] = []
    for part in np.array_split(np.arange(len(values)), points // 2):
        if np.isfinite(values[part]).any():
            kept += sorted({part[np.nanargmin(values[part])], part[np.nanargmax(values[part])]})
        else:
            kept.append(part[0])
    return steps[kept], values[kept]


def running_mean(x: Array, y: Array) -> tuple[Array, Array]:
    """(m,) steps and means over about a twentieth of the (n,) values, for m up to 200."""
    parts = np.array_split(np.arange(len(y)), min(_SMOOTH, len(y)))
    finite = np.isfinite(y)
    sums = np.array([y[part][finite[part]].sum() for part in parts])
    counts = np.array([finite[part].sum() for part in parts], dtype=np.float64)
    ones = np.ones(_WINDOW)
    total, count = np.convolve(sums, ones, "same"), np.convolve(counts, ones, "same")
    means = np.full(len(parts), np.nan)
    np.divide(total, count, out=means, where=counts > 0)
    return np.array([x[part].mean() for part in parts]), means


def _series(lines: History, name: str) -> tuple[Array, Array]:
    """Steps and values (n,) of the lines that have this measure; NaN where it can't be drawn."""
    pairs = np.array([(line["step"], line[name]) for line in lines if name in line], dtype=np.float64)
    steps, values = pairs[:, 0], pairs[:, 1]
    return steps, np.where(np.abs(values) < _LARGEST, values, np.nan)
