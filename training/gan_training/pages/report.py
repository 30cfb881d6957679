"""report.html: what a run did, on one self-contained page for its owner, or for a paper's appendix."""

from __future__ import annotations

import io
import math
import platform
import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, fields
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import torch
from PIL import Image

from gan_training.config import GAN_TYPES, ONLY_FOR, TrainConfig
from gan_training.watch.alarm import Alarm

from .curves import Annotation, draw_plots
from .measures import GROUPS, group_of, words
from .page import data_url, inline, number, write_html

GRIDS = 12  # sample grids shown: the first, the last and evenly between
GRID_BYTES = 150_000  # above this a grid is shown smaller, as JPEG
GRID_PIXELS = 640  # longest side of such a one
TABULATED = ("watch", "evaluation")
"""Groups of measures (by tag) whose numbers stand in a table."""


@dataclass(frozen=True)
class RunRecord:
    """All that the report tells."""

    config: TrainConfig
    description: str  # one paragraph on what was trained
    step: int  # generator updates done
    seconds: float  # training time, over all resumes
    finished: str  # "finished", "running", "stopped at step N", or why it failed
    failed: bool  # it diverged, or was stopped because it collapsed
    verdict: str  # one line on the state of the training
    history: list[dict[str, float]]  # lines of metrics.jsonl; measures may be missing, NaN or infinite
    alarms: list[Alarm]
    advice: list[str]  # given before the first step
    samples: Path  # folder of step_0000500.png
    best: dict[str, float] | None  # best.pt's line of the history
    pairs: Image.Image | None  # sample, its closest training image, sample, ...
    versions: dict[str, str]


@dataclass(frozen=True)
class Grid:
    """A sample grid as the page shows it."""

    step: int
    url: str  # data URL; empty if the file can't be read as a picture
    width: int  # pixels
    height: int


@dataclass(frozen=True)
class Setting:
    """A line of the configuration table."""

    name: str
    value: str
    default: str  # the type's
    is_changed: bool


def write_report(path: Path, record: RunRecord) -> None:
    """Write the page, whole or not at all.

    Raises:
        CheckpointError: the file can't be written.
    """
    alarms = sorted(record.alarms, key=lambda alarm: alarm.step)
    write_html(
        path,
        "report.html",
        record=record,
        title=f"{record.config.type} on {record.config.data}",
        is_bad=record.failed or bool(alarms),
        figures=_figures(record),
        alarms=alarms,
        plots=draw_plots(record.history, record.step, _annotations(alarms, record.best)),
        measured=_measured(record),
        grids=read_grids(record.samples),
        pairs=None if record.pairs is None else inline(record.pairs),
        settings=settings_of(record.config),
    )


def versions(device: torch.device) -> dict[str, str]:
    """What the run's numbers depend on besides its configuration: packages, threads and hardware."""
    found = {name: _version(name) for name in ("ganworks", "torch", "numpy")}
    found |= {"python": platform.python_version(), "system": f"{platform.system()} {platform.machine()}"}
    found |= {"processor": _processor(), "threads": str(torch.get_num_threads()), "device": str(device)}
    if device.type == "cuda":
        found |= {"device": f"{device}: {torch.cuda.get_device_name(device)}", "cuda": str(torch.version.cuda)}
    return found


def read_grids(folder: Path, count: int = GRIDS) -> list[Grid]:
    """Up to `count` sample grids of the folder by step: the first, the last and evenly between."""
    found = {int(match[1]): path for path in folder.glob("*.png") if (match := _GRID.fullmatch(path.name))}
    steps = sorted(found)
    if len(steps) > count:
        steps = [steps[round(i * (len(steps) - 1) / (count - 1))] for i in range(count)]
    return [_grid(step, found[step]) for step in steps]


def settings_of(config: TrainConfig) -> list[Setting]:
    """Every setting that this type has, beside the type's default."""
    defaults = TrainConfig.for_type(config.type, config.data)
    lines = []
    for field in fields(TrainConfig):
        if config.type in ONLY_FOR.get(field.name, GAN_TYPES):
            value, default = getattr(config, field.name), getattr(defaults, field.name)
            lines.append(Setting(field.name, _value(value), _value(default), value != default))
    return lines


_GRID: Final = re.compile(r"step_(\d+)\.png")


def _grid(step: int, path: Path) -> Grid:
    """The file as it is, or smaller where it is large; without a picture where it can't be read."""
    try:
        with Image.open(path) as picture:
            width, height = picture.size
            if path.stat().st_size <= GRID_BYTES:
                picture.load()
                return Grid(step, data_url(path.read_bytes(), "png"), width, height)
            small = picture.convert("L" if picture.mode == "L" else "RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):  # of damaged and of huge pictures
        return Grid(step, "", 0, 0)
    small.thumbnail((GRID_PIXELS, GRID_PIXELS), Image.Resampling.BOX)
    buffer = io.BytesIO()
    small.save(buffer, format="JPEG", quality=80)
    return Grid(step, data_url(buffer.getvalue(), "jpeg"), *small.size)


def _figures(record: RunRecord) -> list[tuple[str, str]]:
    """The header's numbers: (what, value)."""
    rates = [rate for line in record.history if math.isfinite(rate := line.get("images_per_second", math.nan))]
    figures = [
        ("steps", f"{record.step:,} of {record.config.steps:,}"),
        ("training time", _duration(record.seconds)),
        ("images per second", f"{statistics.median(rates):,.0f} (median)" if rates else "not measured"),
        ("alarms", str(len(record.alarms)) if record.alarms else "none"),
    ]
    if record.best is not None:
        figures.append(("best.pt", f"step {record.best.get('step', math.nan):,.0f}"))
    return figures


def _measured(record: RunRecord) -> list[tuple[str, str, str, str]]:
    """(measure, its value in best.pt, its last value, that one's step) for what was watched and evaluated."""
    best = record.best or {}
    last: dict[str, tuple[float, float]] = {}
    for line in record.history:
        for name, value in line.items():
            if group_of(name).tag in TABULATED:
                last[name] = value, line.get("step", math.nan)
    order = {name: place for place, name in enumerate(name for group in GROUPS for name in group.names)}
    return [
        (words(name), number(best.get(name)), number(last[name][0]), f"{last[name][1]:,.0f}")
        for name in sorted(last, key=lambda name: order[name])
    ]


def _annotations(alarms: Sequence[Alarm], best: dict[str, float] | None) -> list[Annotation]:
    annotations = [Annotation(alarm.step, str(i), f"{i} {alarm.kind}", True) for i, alarm in enumerate(alarms, 1)]
    if best is not None and math.isfinite(best.get("step", math.nan)):
        annotations.append(Annotation(int(best["step"]), "best", "best.pt", False))
    return annotations


def _value(value: Any) -> str:
    """As `--set` takes it."""
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed as a package"


def _processor() -> str:
    """The processor's name; Linux tells it in a file, other systems through `platform`."""
    try:
        text = Path("/proc/cpuinfo").read_text(errors="replace")
    except OSError:
        text = ""
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found[1].strip() if found else platform.processor() or platform.machine()
