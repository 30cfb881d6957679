"""A folder of artifacts that change, and the catalog over it."""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import numpy as np
from toy_artifact import DIM, put_in_place, write_artifact

from gan_export.artifact import draw
from gan_serving.models.catalog import Catalog, Generator
from gan_serving.process.shared_flags import SharedFlags
from gan_serving.settings import Settings

PATIENCE = 30.0  # seconds until a test that hangs is ended
SEEDS = [3, 4, 5]

Scenario = Callable[[Catalog], Coroutine[Any, Any, None]]


class House:
    """A folder of artifacts, and what a catalog over it told."""

    def __init__(self, root: Path) -> None:
        self.folder = root / "models"
        self.folder.mkdir()
        self.made = 0
        self.events: list[tuple[str, str]] = []

    def put(self, folder: str, version: int = 0, **how: Any) -> Path:
        """Write a version elsewhere and rename it into place."""
        self.made += 1
        staging = write_artifact(self.folder / f".making{self.made}", version, **({"name": folder} | how))
        put_in_place(staging, self.folder / folder)
        return self.folder / folder

    def drive(
        self, scenario: Scenario, models: object = None, flags: SharedFlags | None = None, default: str | None = None
    ) -> None:
        async def main() -> None:
            settings = Settings(models=str(models or self.folder), threads=1, default_model=default)
            catalog = Catalog(settings, on_event=lambda *event: self.events.append(event), flags=flags)
            try:
                await asyncio.wait_for(scenario(catalog), PATIENCE)
            finally:
                await catalog.close()

        asyncio.run(main())


def names(catalog: Catalog) -> list[str]:
    return [model.name for model in catalog.list()]


async def images(generator: Generator) -> np.ndarray:
    drawn = await generator.batcher.submit(draw(SEEDS, DIM, "normal").latents, None)
    return drawn[:, 0]


async def look(catalog: Catalog) -> None:
    """What the watcher does every GAN_RELOAD_SECONDS."""
    await catalog._look(asked=False)
