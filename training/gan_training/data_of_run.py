"""The data that a run's settings name, and whether these settings can train on them."""

from __future__ import annotations

from .config import ConfigError, TrainConfig
from .data import DataError, ImageData, load_data
from .observer import TellFn
from .parallel import Parallel


def load_for(config: TrainConfig, parallel: Parallel, tell: TellFn) -> ImageData:
    """The training set. Of processes that train together the first reads it, then the others from its cache."""

    def progress(done: int, total: int) -> None:
        tell(f"reading {config.data}", done, total)

    with parallel.main_first():
        return load_data(config.data, config.image_size, config.channels, progress=progress)


def check_fit(config: TrainConfig, data: ImageData) -> None:
    """Raises DataError or ConfigError where these settings can't train on these data."""
    if config.is_conditional and data.classes < 2:
        found = "has no labels" if data.labels is None else "has one class"
        needs = "them" if data.labels is None else "2 or more"
        instead = "leave out --conditional" if config.type == "wgan" else "use --type dcgan or wgan"
        raise DataError(f"{config.data}: {found}, and {config.type} needs {needs}; {instead}")
    if config.translate > data.image_size // 4:
        raise ConfigError(
            f"translate is {config.translate}; for images of {data.image_size} pixels it must be from 0 to "
            f"{data.image_size // 4}, a quarter of them"
        )
