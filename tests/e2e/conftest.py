"""Real artifacts for the end-to-end tests."""

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

STEP_SECONDS = 120


@pytest.fixture(scope="session")
def models(
    tmp_path_factory: pytest.TempPathFactory, run_command: Callable[..., subprocess.CompletedProcess[str]]
) -> Path:
    """A folder with two artifacts: `digits`, conditional and grey, and `colours`, unconditional and RGB."""
    work = tmp_path_factory.mktemp("models")
    images = np.random.default_rng(0).integers(0, 256, (64, 32, 32, 3), np.uint8)
    np.savez(work / "colours.npz", images=images)
    for name, gan_type, data in (("digits", "cgan", "digits"), ("colours", "dcgan", "npz:colours.npz")):
        for command in (
            ("gan-train", "--type", gan_type, "--data", data, "--out", f"runs/{name}", "--steps", 40),
            ("gan-export", f"runs/{name}/ckpt.pt"),
        ):
            done = run_command(*command, cwd=work)
            assert done.returncode == 0, done.stderr
    return work / "models"


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
