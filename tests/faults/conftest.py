"""The good generator that all faults are planted into, and services of artifacts that fail when they are told to."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import planted
import pytest
import torch
from guarded_uvicorn import Server, running
from trap_artifact import Direct, latents, write_trap

from gan_export.package.export import Exported, export


@pytest.fixture(scope="session", autouse=True)
def _quick(quick_exports: None) -> None:  # noqa: ARG001
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def good(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return export(planted.source_of(planted.Good()), "good", tmp_path_factory.mktemp("faults") / "good", portable=True)


@pytest.fixture(scope="session")
def trap_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `small`, 8 x 8 and grey, and `large`, 64 x 64 and RGB; both can be made slow, or to fail."""
    folder = tmp_path_factory.mktemp("traps")
    write_trap(folder / "small")
    write_trap(folder / "large", size=64, channels=3)
    return folder


@pytest.fixture(scope="session")
def trapped(serve: Callable[..., Any], trap_models: Path) -> Iterator[Any]:
    """A service of both, for all tests that don't end it; a slow image occupies all that it computes with."""
    with serve(models=trap_models, default_model="small", reload_seconds=0, threads=1) as service:
        yield service
        log = service.log.read_text()
        assert log.count("Traceback") == log.count(": an image could not be generated"), "these alone are meant to fail"


@pytest.fixture(scope="session")
def products_for(trap_models: Path) -> Callable[[float], int]:
    """How many matrix products take so many seconds here, about: nothing may depend on how well that is met."""
    direct, counted = Direct(trap_models / "small"), 1000
    began = time.perf_counter()
    direct.by_latent(latents(1, products=counted), [0])
    seconds = time.perf_counter() - began
    return lambda asked: max(1, int(asked / seconds * counted))


@pytest.fixture
def server() -> Iterator[Server]:
    """A uvicorn with the service's protocol, and short timeouts."""
    with running() as found:
        yield found
