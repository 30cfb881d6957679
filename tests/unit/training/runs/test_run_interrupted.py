"""Runs that stop and go on: not a bit changes, and Ctrl-C breaks nothing."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from runs import quiet, resumed

from gan_training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from gan_training.cli.command import Stop
from gan_training.objectives import Batch
from gan_training.runs.outcome import Progress, TrainingStoppedError

CASES = {
    "dcgan": ("dcgan", {"critic_norm": "batch"}),
    "cgan": ("cgan", {}),
    "acgan": ("acgan", {"r1_every": 2, "r1_gamma": 1.0}),
    "wgan": ("wgan", {"n_critic": 3, "conditional": True}),
}


def weights(out: Path) -> list[torch.Tensor]:
    """All that the next step depends on, as a flat list of tensors."""
    content = torch.load(out / "ckpt.pt", weights_only=True)
    found: list[torch.Tensor] = []

    def collect(value: object) -> None:
        if isinstance(value, torch.Tensor):
            found.append(value)
        elif isinstance(value, dict):
            for key in sorted(value, key=str):
                collect(value[key])
        elif isinstance(value, int | float):
            found.append(torch.tensor(value, dtype=torch.float64))

    collect(content["trainer"])
    collect(content["batches"])
    return found


def assert_same(one: Path, other: Path) -> None:
    a, b = weights(one), weights(other)
    assert len(a) == len(b) > 20
    assert all(map(torch.equal, a, b))


class Signalling:
    """Batches that raise a signal just before they give number `at`: in the middle of a step."""

    def __init__(self, batches: Iterator[Batch], *at: int, number: int = signal.SIGINT) -> None:
        self.batches, self.at, self.number, self.given = batches, at, number, 0

    def __iter__(self) -> "Signalling":
        return self

    def __next__(self) -> Batch:
        self.given += 1
        for _ in range(self.at.count(self.given)):
            signal.raise_signal(self.number)
        return next(self.batches)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("case", CASES)
def test_stopping_and_resuming_changes_no_bit(make_run, toy_data, tmp_path, case, precision):
    gan_type, settings = CASES[case]
    straight, parts = tmp_path / "straight", tmp_path / "parts"
    make_run(gan_type, straight, precision=precision, **settings).train(quiet)
    make_run(gan_type, parts, precision=precision, steps=1, **settings).train(quiet)
    for steps in (4, 6):
        torch.manual_seed(777)  # a new process starts with other random states
        resumed(parts, toy_data(), steps=steps).train(quiet)
    assert_same(straight, parts)
    lines = [json.loads(line) for line in (parts / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6]
    straight_lines = [json.loads(line) for line in (straight / "metrics.jsonl").read_text().splitlines()]
    clock = {"seconds", "images_per_second"}
    assert [{k: v for k, v in line.items() if k not in clock} for line in lines] == [
        {k: v for k, v in line.items() if k not in clock} for line in straight_lines
    ]


@pytest.mark.usefixtures("sigint")
@pytest.mark.parametrize(("at", "steps_done"), [(1, 1), (3, 1), (5, 2), (6, 2), (7, 3)])
@pytest.mark.parametrize("log_every", [1, 4])
def test_ctrl_c_in_the_middle_of_a_step_finishes_and_saves_that_step(
    make_run, toy_data, tmp_path, at, steps_done, log_every
):
    gan_type, settings = CASES["wgan"]  # three batches a step
    make_run(gan_type, tmp_path / "straight", **settings).train(quiet)
    out = tmp_path / "stopped"
    run = make_run(gan_type, out, log_every=log_every, **settings)
    run.trainer.batches = Signalling(run.trainer.batches, at)
    with pytest.raises(
        TrainingStoppedError, match=rf"stopped at step {steps_done}; saved in .*ckpt.pt; continue with --res"
    ):
        run.train(quiet)
    checkpoint = load_checkpoint(out / "ckpt.pt")
    assert checkpoint.step == steps_done
    assert checkpoint.history[-1]["step"] == steps_done
    resumed(out, toy_data()).train(quiet)
    assert_same(tmp_path / "straight", out)


@pytest.mark.usefixtures("sigint")
def test_a_second_ctrl_c_stops_at_once_and_keeps_the_last_checkpoint(make_run, toy_data, tmp_path):
    gan_type, settings = CASES["wgan"]
    make_run(gan_type, tmp_path / "straight", **settings).train(quiet)
    out = tmp_path / "stopped"
    run = make_run(gan_type, out, checkpoint_every=2, **settings)
    run.trainer.batches = Signalling(run.trainer.batches, 8, 8)  # twice in step 3
    with pytest.raises(KeyboardInterrupt):
        run.train(quiet)
    assert load_checkpoint(out / "ckpt.pt").step == 2
    resumed(out, toy_data()).train(quiet)
    assert_same(tmp_path / "straight", out)


def test_sigterm_however_often_stops_as_ctrl_c_does_where_the_program_handles_it(make_run, tmp_path):
    stop = Stop()
    before = signal.signal(signal.SIGTERM, stop)
    try:
        run = make_run("dcgan", tmp_path)
        run.trainer.batches = Signalling(run.trainer.batches, 2, 2, 2, number=signal.SIGTERM)
        with pytest.raises(TrainingStoppedError, match="stopped at step 2; saved"):
            run.train(quiet)
        assert signal.getsignal(signal.SIGTERM) is stop
    finally:
        signal.signal(signal.SIGTERM, before)
    assert load_checkpoint(tmp_path / "ckpt.pt").step == 2


@pytest.mark.usefixtures("sigint")
def test_ctrl_c_while_files_are_written_waits_for_them(make_run, tmp_path):
    run = make_run("dcgan", tmp_path, checkpoint_every=2, sample_every=2)

    def press(progress: Progress) -> None:
        if progress.step == 2:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(TrainingStoppedError, match="stopped at step 2"):
        run.train(press)
    assert load_checkpoint(tmp_path / "ckpt.pt").step == 2


@pytest.mark.usefixtures("sigint")
def test_ctrl_c_in_the_last_step_has_nothing_to_stop(make_run, tmp_path):
    run = make_run("dcgan", tmp_path)
    run.trainer.batches = Signalling(run.trainer.batches, 6)
    run.train(quiet)
    assert load_checkpoint(tmp_path / "ckpt.pt").step == 6


def test_no_step_is_saved_twice(make_run, tmp_path, monkeypatch):
    saved = []

    def save(checkpoint: Checkpoint, path: Path) -> None:
        saved.append(checkpoint.step)
        save_checkpoint(checkpoint, path)

    monkeypatch.setattr("gan_training.runs.run.save_checkpoint", save)
    make_run("dcgan", tmp_path, checkpoint_every=2).train(quiet)
    assert saved == [2, 4, 6]


def test_an_ignored_ctrl_c_stays_ignored(make_run, tmp_path):
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as `nohup` and `command &` of a script leave it
    try:
        run = make_run("dcgan", tmp_path)
        run.trainer.batches = Signalling(run.trainer.batches, 2)
        run.train(quiet)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
    assert load_checkpoint(tmp_path / "ckpt.pt").step == 6


@pytest.mark.parametrize("goes_on", [True, False])
def test_what_a_killed_process_left_half_written_goes(make_run, toy_data, tmp_path, goes_on):
    make_run("dcgan", tmp_path, sample_every=2).train(quiet)
    left = [tmp_path / ".best.pt.part", tmp_path / ".report.html.part", tmp_path / "samples/.step_0000005.png.part"]
    for path in left:
        path.write_bytes(b"half")
    (tmp_path / ".notes.part").touch()
    (resumed(tmp_path, toy_data()) if goes_on else make_run("dcgan", tmp_path)).train(quiet)
    assert not any(path.exists() for path in left)
    assert (tmp_path / ".notes.part").exists()
