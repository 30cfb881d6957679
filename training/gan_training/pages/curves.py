"""The curves of a run, one small plot per group of measures: as inline SVG for a page, or as one picture."""

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
from PIL import Image

from .measures import Group, words
from .series import Array, History, Series, drawable, running_mean, thin

SERIES = 6  # colours; further curves repeat them dashed
_WIDTH, _HEIGHT = 260, 140  # points (1/72 inch)
_LEFT, _RIGHT, _TOP, _BOTTOM = 32, 10, 13, 17  # margins, points
_FONT = 8  # points
_CHARACTER = 0.58 * _FONT  # mean width
_MANY = 120  # values from which on a running mean is drawn over them
_MARKED = 30  # up to this many values each has a dot
_LOG_SPAN = 100  # largest over median value from which on the axis is logarithmic

_COLUMNS = 3  # of plots in a picture
_TITLE = 24  # points above each, for its title and its keys
_DPI = 100


@dataclass(frozen=True)
class _Colours:
    """What is drawn in which colour."""

    ink: str
    soft: str
    bad: str
    best: str
    series: tuple[str, ...]  # SERIES of them

    def all(self) -> tuple[str, ...]:
        return (self.ink, self.soft, self.bad, self.best, *self.series)


# matplotlib knows no CSS colours: it draws with stand-ins, and the page's colours take their places.
_STAND_INS: Final = _Colours("#0a0b0c", "#0a0b0d", "#0a0b0e", "#0a0b0f", tuple(f"#0a0c{i:02x}" for i in range(SERIES)))
_CSS: Final = _Colours(
    "currentColor", "var(--rule)", "var(--bad)", "var(--best)", tuple(f"var(--series-{i})" for i in range(SERIES))
)
_ON_WHITE: Final = _Colours(
    "#333333", "#dddddd", "#c62828", "#2e7d32", ("#1f6fb4", "#d9641e", "#2a9d5c", "#a13d8f", "#8a6d1d", "#555555")
)
_PAGE: Final = dict(zip(_STAND_INS.all(), _CSS.all(), strict=True))
_STYLE: Final[dict[Any, Any]] = {"svg.fonttype": "none", "text.usetex": False, "font.size": _FONT}


@dataclass(frozen=True)
class Annotation:
    """A vertical line at a step, with its label above the plot."""

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


def draw_plots(history: History, steps: int, annotations: Sequence[Annotation] = ()) -> list[Plot]:
    """A plot for each group of measures that has at least one finite value.

    Args:
        history: any measure may be missing on any line, NaN or infinite.
        steps: generator updates, the right end of the axis.
        annotations: vertical lines in every plot.
    """
    ordered = sorted(annotations, key=lambda each: each.step)
    return [_plot(group, series, max(steps, 1), ordered) for group, series in drawable(history)]


def draw_picture(history: History, steps: int, annotations: Sequence[Annotation] = ()) -> Image.Image:
    """The same plots side by side on a white ground; arguments as of `draw_plots`."""
    ordered, drawn = sorted(annotations, key=lambda each: each.step), drawable(history)
    rows = max(1, -(-len(drawn) // _COLUMNS))
    width, height = _COLUMNS * _WIDTH, rows * (_HEIGHT + _TITLE)
    figure = Figure(figsize=(width / 72, height / 72), dpi=_DPI)
    with mpl.rc_context(_STYLE):
        for place, (group, series) in enumerate(drawn):
            left, top = place % _COLUMNS * _WIDTH, height - place // _COLUMNS * (_HEIGHT + _TITLE)
            _add_axes(figure, (left, top - _HEIGHT - _TITLE), group, series, max(steps, 1), ordered, _ON_WHITE)
            figure.text((left + _LEFT) / width, (top - 9) / height, group.title, fontsize=_FONT, weight="bold")
            for i, name in enumerate(series if len(series) > 1 else ()):
                x = left + _LEFT + i * (_WIDTH - _LEFT) / len(series)
                colour = _ON_WHITE.series[i % SERIES]
                figure.text(x / width, (top - 19) / height, words(name), fontsize=_FONT - 1.5, color=colour)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png")
    # Few colours: a palette takes a third of the bytes.
    return Image.open(buffer).convert("RGB").quantize(64)


def _plot(group: Group, series: Series, steps: int, annotations: Sequence[Annotation]) -> Plot:
    figure = Figure(figsize=(_WIDTH / 72, _HEIGHT / 72))
    # The salt makes ids in the SVG differ from plot to plot, and be the same each time.
    with mpl.rc_context(_STYLE | {"svg.hashsalt": group.title}):
        _add_axes(figure, (0, 0), group, series, steps, annotations, _STAND_INS)
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


def _add_axes(
    figure: Figure,
    corner: tuple[float, float],
    group: Group,
    series: Series,
    steps: int,
    annotations: Sequence[Annotation],
    colours: _Colours,
) -> None:
    """One plot of _WIDTH x _HEIGHT points, whose lower left corner is there."""
    width, height = figure.get_size_inches() * 72
    axes = figure.add_axes(
        (
            (corner[0] + _LEFT) / width,
            (corner[1] + _BOTTOM) / height,
            (_WIDTH - _LEFT - _RIGHT) / width,
            (_HEIGHT - _TOP - _BOTTOM) / height,
        )
    )
    for i, (x, y) in enumerate(series.values()):
        _draw(axes, x, y, colours.series[i % SERIES], "-" if i < SERIES else "--")
    values = np.concatenate([y for _, y in series.values()])
    _set_axes(axes, values, steps, colours, is_share=group.is_share)
    _draw_annotations(axes, annotations, steps, colours)


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
        axes.plot(*running_mean(x, y), dashes, color=colour, linewidth=1.5)


def _set_axes(axes: Axes, values: Array, steps: int, colours: _Colours, *, is_share: bool) -> None:
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
    axes.grid(axis="y", color=colours.soft, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(which="both", colors=colours.ink, length=0, labelsize=_FONT)
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(colours.soft)


def _draw_annotations(axes: Axes, annotations: Sequence[Annotation], steps: int, colours: _Colours) -> None:
    """Lines with labels above; a label that would run into the next line gets short, or is left out."""
    per_step = (_WIDTH - _LEFT - _RIGHT) / steps
    ends = [*(each.step * per_step for each in annotations), _WIDTH - _LEFT][1:]  # the last one's is the picture's edge
    for each, end in zip(annotations, ends, strict=True):
        colour = colours.bad if each.is_alarm else colours.best
        axes.axvline(each.step, color=colour, linewidth=0.9, linestyle="--" if each.is_alarm else "-", alpha=0.8)
        room = (end - each.step * per_step) / _CHARACTER
        label = next((text for text in (each.label, each.short) if len(text) <= room), "")
        axes.text(
            each.step,
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
    body = re.sub("|".join(_PAGE), lambda colour: _PAGE[colour[0]], body)
    return view[1], Markup(re.sub(r"\n\s*", " ", body))  # matplotlib has escaped its text


def _in_words(name: str, steps: Array, values: Array) -> str:
    finite = np.isfinite(values)
    steps, values = steps[finite], values[finite]
    text = f"{words(name)}: {values[-1]:.4g} at step {steps[-1]:,.0f}"
    return text if len(values) == 1 else f"{text}, from {values.min():.4g} to {values.max():.4g} before"
