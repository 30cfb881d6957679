"""Bar charts as PNG files. matplotlib is imported only when one is drawn."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

DPI = 100
COLOURS = ("#3b6ea5", "#e08e45", "#5a9367", "#b0524e", "#8468a3", "#7f7f7f", "#c7a23a", "#4fb0ae", "#333333")
Series = Mapping[str, Sequence[float]]


def grouped_bars(path: Path, groups: Sequence[str], panels: Mapping[str, Series], line: float | None = None) -> None:
    """Panels one below the other, by what their axis is named; in each, bars side by side for every group.

    Args:
        path: of the PNG.
        groups: names along the horizontal axis.
        panels: axis name -> series name -> a height for each group, NaN where there is none.
        line: a height to mark.
    """
    figure, axes = _figure(len(panels), 1, (10, 3 * len(panels)))
    for axis, (name, series) in zip(axes, panels.items(), strict=True):
        width = 0.8 / len(series)
        for i, (label, heights) in enumerate(series.items()):
            places = [at + (i - (len(series) - 1) / 2) * width for at in range(len(groups))]
            axis.bar(places, heights, width, label=label, color=COLOURS[i % len(COLOURS)])
        if line is not None:
            axis.axhline(line, color="black", linewidth=0.8)
        axis.set_ylabel(name)
        axis.set_xticks(range(len(groups)), groups)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=5, fontsize="small")
    _save(figure, path)


def ranges(path: Path, panels: Mapping[str, Mapping[str, tuple[float, float, float]]]) -> None:
    """Panels side by side of horizontal bars with a range.

    Args:
        path: of the PNG.
        panels: axis name -> bar name -> length, and the ends of the range.
    """
    most = max(map(len, panels.values()))
    figure, axes = _figure(1, len(panels), (10, 1 + 0.45 * most))
    for axis, (name, bars) in zip(axes, panels.items(), strict=True):
        middles = [middle for middle, _, _ in bars.values()]
        below = [max(0.0, middle - low) for middle, low, _ in bars.values()]
        above = [max(0.0, high - middle) for middle, _, high in bars.values()]
        colours = [COLOURS[i % len(COLOURS)] for i in range(len(bars))]
        axis.barh(list(bars), middles, xerr=[below, above], color=colours, capsize=3)
        axis.invert_yaxis()
        axis.set_xlabel(name)
    _save(figure, path)


def _figure(rows: int, columns: int, size: tuple[float, float]) -> tuple[Any, list[Any]]:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained")
    return figure, list(axes.flat)


def _save(figure: Any, path: Path) -> None:
    from matplotlib import pyplot as plt

    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=DPI, metadata={"Software": None})
    plt.close(figure)
