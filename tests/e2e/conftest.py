"""Real artifacts for the end-to-end tests."""

import importlib.util
import json
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

STEP_SECONDS = 120
SHORT = (*("--steps", 40, "--batch-size", 32), *("--set", "evaluate_every=0"), *("--set", "report=false"))

MakeOnceFn = Callable[[str, Callable[[Path], None]], Path]


@pytest.fixture(scope="session", autouse=True)
def _quick(quick_exports: None) -> None:
    """What tests of this folder export in their own process."""


@pytest.fixture
def builder(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """zoo/build.py under another name: `build` is a package on PyPI."""
    zoo = Path(__file__).resolve().parents[2] / "zoo"
    monkeypatch.syspath_prepend(zoo)
    spec = importlib.util.spec_from_file_location("zoo_build", zoo / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def models(make_once: MakeOnceFn, run_command: Callable[..., subprocess.CompletedProcess[str]]) -> Path:
    """A folder with two artifacts: `digits`, conditional and grey, and `colours`, unconditional and RGB; to be read."""

    def fill(work: Path) -> None:
        images = np.random.default_rng(0).integers(0, 256, (64, 32, 32, 3), np.uint8)
        np.savez(work / "colours.npz", images=images)

        def train_and_export(name: str, gan_type: str, data: str) -> None:
            for command in (
                ("gan-train", "--type", gan_type, "--data", data, "--out", f"runs/{name}", *SHORT),
                ("gan-export", f"runs/{name}/ckpt.pt"),
            ):
                done = run_command(*command, cwd=work)
                assert done.returncode == 0, done.stderr

        with ThreadPoolExecutor() as both:  # another test process may be waiting, and its core be free
            list(both.map(train_and_export, ("digits", "colours"), ("cgan", "dcgan"), ("digits", "npz:colours.npz")))

    return make_once("models", fill) / "models"


@pytest.fixture(scope="module")
def service(serve: Callable[..., Any], models: Path) -> Iterator[Any]:
    """Of `models`, with all settings as they are by default."""
    with serve(models=models) as running:
        yield running


@pytest.fixture(scope="session")
def wait_for_step() -> Callable[[subprocess.Popen[str], Path, int], None]:
    """Until the run's metrics.jsonl has a line of that step or a later one; fails when its process ends before."""

    def wait(process: subprocess.Popen[str], out: Path, step: int) -> None:
        end = time.monotonic() + STEP_SECONDS
        while time.monotonic() < end:
            path = out / "metrics.jsonl"
            # The last line may be half written.
            lines = path.read_text().split("\n")[:-1] if path.exists() else []
            if lines and json.loads(lines[-1])["step"] >= step:
                return
            try:
                process.wait(0.01)
            except subprocess.TimeoutExpired:
                continue
            pytest.fail(f"training ended early: {process.communicate()}")
        pytest.fail(f"no step {step} after {STEP_SECONDS} s")

    return wait
