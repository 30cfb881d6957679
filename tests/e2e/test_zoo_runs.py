"""The runs that zoo/build.py goes on with: one that Ctrl-C stopped, and those whose data are the recipe's or not."""

import os
import signal
import subprocess
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from commands import PYTHON
from waiting import until

from gan_training.checkpoint import load_checkpoint
from gan_training.config import TrainConfig
from gan_training.runs.run import Run

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
RECIPE = """
images = 200
[data.digits]
source = "digits"
what = "Handwritten digits"
licence = "that of the digits"
[artifact.small]
preset = "cgan-28"
data = "digits"
settings = ["steps=1000000", "generator_width=8", "critic_width=8", "log_every=1"]
"""
SMALL = {
    "steps": 1, "batch_size": 4, "latent_dim": 4, "generator_width": 4, "critic_width": 4, "max_width": 8,
    "evaluate_every": 0, "report": False, "device": "cpu",
}  # fmt: skip
WAIT_SECONDS = 180


def test_ctrl_c_while_it_trains_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "recipes.toml").write_text(RECIPE)
    command = [PYTHON, ROOT / "zoo" / "build.py", "--recipes", "recipes.toml", "--out", "made", "--work", "work"]
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # which a child inherits if it is ignored
    try:
        build = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, start_new_session=True)
    finally:
        signal.signal(signal.SIGINT, before)
    metrics = tmp_path / "work" / "small" / "run" / "metrics.jsonl"
    try:
        until(lambda: metrics.exists() and metrics.stat().st_size, "training", seconds=WAIT_SECONDS, process=build)
        os.killpg(build.pid, signal.SIGINT)  # as a terminal does
        _, told = build.communicate(timeout=WAIT_SECONDS)
    finally:
        if build.poll() is None:
            os.killpg(build.pid, signal.SIGKILL)
            build.communicate()
    assert build.returncode == 130
    assert told.splitlines()[-1] == "zoo/build.py: stopped; the same call goes on from here"
    assert "Traceback" not in told


@pytest.mark.parametrize("gan_type", ["cgan", "dcgan"])
def test_labels_count_where_the_nets_see_them(tmp_path: Path, builder: ModuleType, gan_type: str) -> None:
    images = np.random.default_rng(0).integers(0, 255, (12, 16, 16), np.uint8)
    for name, labels in (
        ("public", np.arange(12) % 3),
        ("same", np.arange(12) % 3),
        ("other", np.arange(12)[::-1] % 3),
    ):
        np.savez(tmp_path / f"{name}.npz", images=images, labels=labels)
    wanted = TrainConfig.for_type(gan_type, f"npz:{tmp_path / 'public.npz'}", **SMALL)
    for name in ("same", "other"):
        own = wanted.with_changes({"data": f"npz:{tmp_path / name}.npz"})
        Run.fresh(own, tmp_path / name).train(lambda _: None)
    path = tmp_path / "other" / "ckpt.pt"
    assert builder._of_recipe(tmp_path / "same" / "ckpt.pt", wanted).step == 1
    if gan_type == "cgan":
        with pytest.raises(builder.BuildError, match=r"was trained on npz:.*other.npz, which is not npz:.*public.npz"):
            builder._of_recipe(path, wanted)
    else:
        assert builder._of_recipe(path, wanted).step == load_checkpoint(path).step == 1
