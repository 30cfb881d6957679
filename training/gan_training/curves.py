"""The curves of a run as inline SVG: one small plot per group of measures."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import matplotlib as mpl
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray

from .measures import Group, grouped, words

Array = NDArray[np.float64]

POINTS = 1000  # of a curve at most
SERIES = 6  # colours; further curves repeat them dashed
_WIDTH, _HEIGHT = 260, 140  # points (1/72 inch)
_LEFT, _RIGHT, _TOP, _BOTTOM = 32, 10, 13, 17  # margins, points
_FONT = 8  # points
_CHARACTER = 0.58 * _FONT  # mean width
_MANY = 120  # values from which on a running mean is drawn over them
_SMOOTH = 200  # points of the running mean
_WINDOW = 9  # of those, averaged
_MARKED = 30  # up to this many values each has a dot
_LARGEST = 1e30  # beyond it a value is drawn as a gap, like NaN
_LOG_SPAN = 100  # largest over median value from which on the axis is logarithmic

# matplotlib knows no CSS colours: it draws with stand-ins, and the page's colours take their places.
_INK, _SOFT, _BAD, _BEST = "#0a0b0c", "#0a0b0d", "#0a0b0e", "#0a0b0f"
_SERIES: Final = [f"#0a0c{i:02x}" for i in range(SERIES)]
_CSS: Final = {
    _INK: "currentColor",
    _SOFT: "var(--rule)",
    _BAD: "var(--bad)",
    _BEST: "var(--best)",
    **{stand_in: f"var(--series-{i})" for i, stand_in in enumerate(_SERIES)},
}
_STYLE: Final[dict[Any, Any]] = {"svg.fonttype": "none", "text.usetex": False, "font.size": _FONT}


@dataclass(frozen=True)
class Mark:
    """A vertical line at a step."""

    step: int
    short: str  # label where there is little room
    label: str
    is_alarm: bool


@dataclass(frozen=True)
class Key:
    """What a colour stands for."""

    label: str
    colour: str  # CSS
    is_dashed: bool


@dataclass(frozen=True)
class Plot:
    """One group's curves."""

    title: str
    note: str
    keys: list[Key]  # empty where the title says it all
    svg: Markup  # what stands inside the <svg> element
    view: str  # its viewBox
    alt: str  # the numbers in words


def draw_plots(history: Sequence[dict[str, float]], steps: int, marks: Sequence[Mark] = ()) -> list[Plot]:
    """A plot for each group of measures that has at least one finite value.

    Args:
        history: lines of metrics.jsonl; any measure may be missing on any line, NaN or infinite.
        steps: generator updates, the right end of the axis.
        marks: vertical lines in every plot.
    """
    lines = [line for line in history if np.isfinite(line.get("step", np.nan))]
    plots = []
    for group, names in grouped(lines):
        series = {name: _series(lines, name) for name in names}
        drawn = {name: pair for name, pair in series.items() if np.isfinite(pair[1]).any()}
        if drawn:
            plots.append(_plot(group, drawn, max(steps, 1), sorted(marks, key=lambda mark: mark.step)))
    return plots


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


def _series(lines: Sequence[dict[str, float]], name: str) -> tuple[Array, Array]:
    """Steps and values (n,) of the lines that have this measure; NaN where it can't be drawn."""
    pairs = np.array([(line["step"], line[name]) for line in lines if name in line], dtype=np.float64)
    steps, values = pairs[:, 0], pairs[:, 1]
    return steps, np.where(np.abs(values) < _LARGEST, values, np.nan)


def _plot(group: Group, series: dict[str, tuple[Array, Array]], steps: int, marks: Sequence[Mark]) -> Plot:
    figure = Figure(figsize=(_WIDTH / 72, _HEIGHT / 72))
    # The salt makes ids in the SVG differ from plot to plot, and be the same each time.
    with mpl.rc_context(_STYLE | {"svg.hashsalt": group.title}):
        axes = figure.add_axes(
            (_LEFT / _WIDTH, _BOTTOM / _HEIGHT, 1 - (_LEFT + _RIGHT) / _WIDTH, 1 - (_TOP + _BOTTOM) / _HEIGHT)
        )
        for i, (x, y) in enumerate(series.values()):
            _draw(axes, x, y, _SERIES[i % SERIES], "-" if i < SERIES else "--")
        _set_axes(axes, np.concatenate([y for _, y in series.values()]), steps, is_share=group.is_share)
        _draw_marks(axes, marks, steps)
        buffer = io.StringIO()
        figure.savefig(
            buffer, format="svg", transparent=True, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type"))
        )
    view, body = _for_page(buffer.getvalue())
    is_named_by_title = len(group.names) == len(series) == 1
    keys = [Key(words(name), f"var(--series-{i % SERIES})", i >= SERIES) for i, name in enumerate(series)]
    alt = "; ".join(_in_words(name, *pair) for name, pair in series.items())
    return Plot(
        group.title, group.note, [] if is_named_by_title else keys, body, view, f"{group.title} by step. {alt}."
    )


def _draw(axes: Axes, x: Array, y: Array, colour: str, dashes: str) -> None:
    is_long = len(y) > _MANY
    dot = "o" if len(y) <= _MARKED else ""
    axes.plot(
        *thin(x, y),
        dashes,
        color=colour,
        linewidth=0.6 if is_long else 1.3,
        alpha=0.4 if is_long else 1,
        marker=dot,
        markersize=3,
    )
    if is_long:
        axes.plot(*_running_mean(x, y), dashes, color=colour, linewidth=1.5)


def _running_mean(x: Array, y: Array) -> tuple[Array, Array]:
    """(m,) steps and means over about a twentieth of the (n,) values, for m up to _SMOOTH."""
    parts = np.array_split(np.arange(len(y)), min(_SMOOTH, len(y)))
    finite = np.isfinite(y)
    sums = np.array([y[part][finite[part]].sum() for part in parts])
    counts = np.array([finite[part].sum() for part in parts], dtype=np.float64)
    ones = np.ones(_WINDOW)
    total, count = np.convolve(sums, ones, "same"), np.convolve(counts, ones, "same")
    means = np.full(len(parts), np.nan)
    np.divide(total, count, out=means, where=counts > 0)
    return np.array([x[part].mean() for part in parts]), means


def _set_axes(axes: Axes, values: Array, steps: int, *, is_share: bool) -> None:
    finite = values[np.isfinite(values)]
    if finite.min() > 0 and finite.max() > _LOG_SPAN * np.median(finite):
        axes.set_yscale("log")
    else:
        axes.yaxis.set_major_locator(MaxNLocator(5, integer=bool((finite == finite.round()).all())))
        axes.yaxis.set_major_formatter(
            FuncFormatter(lambda value, _: f"{value:,.4g}" if abs(value) < 1e4 else f"{value:.1e}")
        )
        if is_share and finite.min() >= 0 and finite.max() <= 1:
            axes.set_ylim(0, 1.02)
    axes.set_xlim(0, steps)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.xaxis.set_major_formatter(
        FuncFormatter(lambda step, _: f"{step / 1000:,g}k" if steps >= 10_000 else f"{step:,.0f}")
    )
    axes.grid(axis="y", color=_SOFT, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(which="both", colors=_INK, length=0, labelsize=_FONT)
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(_SOFT)


def _draw_marks(axes: Axes, marks: Sequence[Mark], steps: int) -> None:
    """Lines with labels above; a label that would run into the next line gets short, or is left out."""
    per_step = (_WIDTH - _LEFT - _RIGHT) / steps
    ends = [*(mark.step * per_step for mark in marks), _WIDTH - _LEFT][1:]  # the last one's is the picture's edge
    for mark, end in zip(marks, ends, strict=True):
        colour = _BAD if mark.is_alarm else _BEST
        axes.axvline(mark.step, color=colour, linewidth=0.9, linestyle="--" if mark.is_alarm else "-", alpha=0.8)
        room = (end - mark.step * per_step) / _CHARACTER
        label = next((text for text in (mark.label, mark.short) if len(text) <= room), "")
        axes.text(
            mark.step,
            1.02,
            label,
            color=colour,
            fontsize=_FONT - 1,
            transform=axes.get_xaxis_transform(),
            parse_math=False,
        )


def _for_page(svg: str) -> tuple[str, Markup]:
    """viewBox and inside of matplotlib's SVG, in the page's colours and font, without ids that nothing refers to."""
    view = re.search(r'viewBox="([^"]+)"', svg)
    assert view is not None, "matplotlib writes a viewBox"
    body = svg[svg.index(">", svg.index("<svg")) + 1 : svg.rindex("</svg>")]
    body = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", body, flags=re.DOTALL)
    body = re.sub(r' id="(?![mp][0-9a-f]{10}")[^"]*"', "", body)  # those of markers and clip paths are referred to
    body = re.sub(r"font-family: [^;\"]*;? ?", "", body)
    body = re.sub(r' d="[^"]*"', lambda path: re.sub(r"(\.\d)\d+", r"\1", path[0]), body)
    body = re.sub("|".join(_CSS), lambda colour: _CSS[colour[0]], body)
    return view[1], Markup(re.sub(r"\n\s*", " ", body))  # matplotlib has escaped its text


def _in_words(name: str, steps: Array, values: Array) -> str:
    finite = np.isfinite(values)
    steps, values = steps[finite], values[finite]
    text = f"{words(name)}: {values[-1]:.4g} at step {steps[-1]:,.0f}"
    return text if len(values) == 1 else f"{text}, from {values.min():.4g} to {values.max():.4g} before"
