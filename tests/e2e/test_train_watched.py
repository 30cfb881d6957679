"""What gan-train tells its owner: advice, alarms, best.pt, report.html, TensorBoard; as a user runs it."""

import json
import os
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from commands import run_forked
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from gan_training.checkpoint import load_checkpoint
from gan_training.data import load_data

pytestmark = pytest.mark.slow

SMALL = ["--image-size", 16, "--set", "generator_width=8", "--set", "critic_width=8", "--set", "latent_dim=8"]
WAIT_SECONDS = 300


def gan_train(cwd: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "GAN_CACHE": str(cwd / "cache")}
    return run_forked("gan-train", [*map(str, arguments)], cwd, environment, WAIT_SECONDS)


def lines_of(path: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with everything on, from a preset of its owner's own, stopped half-way and resumed."""
    work = tmp_path_factory.mktemp("watched")
    data = load_data("digits", image_size=16)
    some = {"images": data.images[::25].permute(0, 2, 3, 1).numpy(), "labels": data.labels[::25].numpy()}
    np.savez(work / "digits.npz", **some)  # the classifier that judges them is trained in seconds
    (work / "mine.toml").write_text(
        'type = "cgan"\nwatch_every = 20\nevaluate_every = 20\nsample_every = 20\ncheckpoint_every = 20\n'
    )
    done = gan_train(work, "--preset", "mine.toml", "--data", "npz:digits.npz", *SMALL, "--steps", 40, "--tensorboard")
    assert done.returncode == 0, done.stderr
    done = gan_train(work, "--resume", "--out", "runs/mine", "--steps", 60, "--tensorboard")
    assert done.returncode == 0, done.stderr
    return work / "runs" / "mine"


def test_best_pt_is_the_checkpoint_with_the_least_frechet_distance(run):
    history = lines_of(run / "metrics.jsonl")
    judged = {line["step"]: line["frechet_distance"] for line in history if "frechet_distance" in line}
    assert sorted(judged) == [20, 40, 60]
    best = load_checkpoint(run / "best.pt")
    assert best.step == min(judged, key=judged.__getitem__)
    assert best.history[-1]["frechet_distance"] == judged[best.step]
    assert load_checkpoint(run / "ckpt.pt").step == 60
    for name in ("precision", "eval_recall", "class_agreement", "diversity", "spacing", "memorisation_ratio"):
        assert name in history[-1]


def test_the_report_is_one_file_with_curves_grids_and_settings(run):
    page = (run / "report.html").read_text()
    assert page.count("<svg") >= 5
    assert page.count("data:image/png;base64,") >= 4  # three grids, and the pairs
    assert not re.search(r"(src|href)=[\"']?(https?:)?//", page)
    for words in ("generator_width", "60", "best.pt", "torch"):
        assert words in page
    assert re.search(r"classifier</th>\s*<td>[0-9a-f]{8}<", page)


def test_tensorboard_reads_each_step_once(run):
    events = EventAccumulator(str(run / "tensorboard")).Reload()
    steps = [event.step for event in events.Scalars("loss/critic_loss")]
    assert steps == sorted(set(steps))
    assert steps[-1] == 60
    assert [event.step for event in events.Scalars("evaluation/frechet_distance")] == [20, 40, 60]
    assert [event.step for event in events.Images("samples")][:3] == [20, 40, 60]


def test_collapse_stops_the_run_with_one_line_and_exit_code_1(tmp_path):
    done = gan_train(
        tmp_path,
        *("--type", "dcgan", "--data", "digits", "--image-size", 16, "--set", "latent_dim=1"),
        *("--set", "generator_width=16", "--set", "critic_width=16", "--set", "report=false"),
        *("--steps", 500, "--out", "out", "--stop-on-collapse", "--set", "evaluate_every=0"),
    )
    assert done.returncode == 1
    assert "advice: latent_dim 1 is" in done.stderr
    assert re.search(r"^step \d+: collapse: samples .*mode collapse", done.stderr, re.MULTILINE)
    assert done.stderr.splitlines()[-1].startswith("gan-train: stopped at step ")
    assert [line["kind"] for line in lines_of(tmp_path / "out" / "alarms.jsonl")][-1] == "collapse"
    assert load_checkpoint(tmp_path / "out" / "ckpt.pt").step < 500


def test_advice_comes_before_the_first_step(tmp_path):
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 20 // 19  # 57 images of one class, 3 of the other
    np.savez(tmp_path / "few.npz", images=rng.integers(0, 256, (60, 16, 16, 3), np.uint8), labels=labels)
    done = gan_train(tmp_path, "--type", "cgan", "--data", "npz:few.npz", "--out", "out", "--dry-run")
    assert done.returncode == 0, done.stderr
    advice = [line for line in done.stderr.splitlines() if line.startswith("advice: ")]
    assert any("only 60 images" in line for line in advice)
    assert any("57" in line and "3" in line for line in advice)
    assert not (tmp_path / "out").exists()
