"""The data that a run's settings name, and whether these settings can train on them."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from gan_training.config import ConfigError, TrainConfig
from gan_training.data import DataError, ImageData, load_data
from gan_training.parallel import Parallel

from .observer import TellFn

_OF_PATHS = ("folder", "npz", "idx")


def place_of(data: str) -> str:
    """`data` as it can be read from any directory: with the whole path, where it names one."""
    kind, _, path = data.partition(":")
    if not _names_path(data) or path.startswith("~"):
        return data
    return f"{kind}:{os.path.abspath(path)}"  # noqa: PTH100 - resolve() would follow links, which may change


def find_again(data: str, place: str | None) -> str:
    """What to read for a run that goes on: `place`, where its data were, or else what `data` names from here.

    Raises DataError where there is neither.
    """
    if not _names_path(data):
        return data
    for source in filter(None, (place, data)):
        path = source.partition(":")[2]
        if any(_may_exist(name) for name in (path, path.rpartition("#")[0], path.partition("?")[0])):
            return source
    where = place_of(place or data).partition(":")[2]
    raise DataError(f"{data}: {where} doesn't exist; give --data with its place now")


def _names_path(data: str) -> bool:
    kind, _, path = data.partition(":")
    return kind in _OF_PATHS or (kind == "hf" and path.startswith((".", "/")))  # others are of the Hub


def _may_exist(path: str) -> bool:
    """Whether there is something; also where that can't be told, as reading it says why."""
    try:
        return bool(path) and Path(path).expanduser().exists()
    except (OSError, ValueError, RuntimeError):  # no permission; a NUL byte; `~name` of no known user
        return True


def load_for(config: TrainConfig, parallel: Parallel, tell: TellFn, place: str) -> ImageData:
    """The training set, which is read from `place`. Of processes that train together the first reads it, then the
    others from its cache."""

    def progress(done: int, total: int) -> None:
        tell(f"reading {config.data}", done, total)

    with parallel.main_first():
        data = load_data(place, config.image_size, config.channels, progress=progress)
    return replace(data, source=config.data)


def check_fit(config: TrainConfig, data: ImageData) -> None:
    """Raises DataError or ConfigError where these settings can't train on these data."""
    if config.is_conditional and data.classes < 2:
        found = "has no labels" if data.labels is None else "has one class"
        needs = "them" if data.labels is None else "2 or more"
        instead = "leave out --conditional" if config.type == "wgan" else "use --type dcgan or wgan"
        if config.data.startswith("folder:"):
            instead += ", or put each class into a subfolder" if data.labels is None else ", or add a subfolder"
        elif config.data.startswith("hf:") and data.labels is None:
            instead += ", or name the column that has them: '?label=COLUMN'"
        raise DataError(f"{config.data}: {found}, and {config.type} needs {needs}; {instead}")
    if config.translate > data.image_size // 4:
        raise ConfigError(
            f"translate is {config.translate}; for images of {data.image_size} pixels it must be from 0 to "
            f"{data.image_size // 4}, a quarter of them"
        )
