"""Going on with a run: data that moved, data that changed, settings that can't; and two runs in one folder."""

import dataclasses
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from runs import quiet

from gan_training.checkpoint import CheckpointError, load_checkpoint, save_durably
from gan_training.config import ConfigError, TrainConfig
from gan_training.data import DataError
from gan_training.runs.data_of_run import find_again, place_of
from gan_training.runs.folder import LOCK, alone_in
from gan_training.runs.resume import changed_config, why_finished
from gan_training.runs.run import Run

SMALL = {
    "batch_size": 4, "latent_dim": 4, "generator_width": 4, "critic_width": 4, "max_width": 8, "evaluate_every": 0,
    "report": False, "device": "cpu",
}  # fmt: skip
HOLDER = "import sys; from pathlib import Path; from gan_training.runs.folder import alone_in\n"
HOLDER += "with alone_in(Path(sys.argv[1])): print('in', flush=True); sys.stdin.read()"


def write_data(path: Path, *, change: int = 0, names: bool = True) -> str:
    images = np.random.default_rng(0).integers(0, 255, (12, 16, 16), np.uint8)
    images[3, 3, 3] += change
    labels = {"labels": np.arange(12) % 3} if names else {}
    np.savez(path, images=images, **labels)
    return f"npz:{path}"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run of two steps on `data.npz`."""
    out = tmp_path / "run"
    config = TrainConfig.for_type("cgan", write_data(tmp_path / "data.npz"), steps=2, **SMALL)
    Run.fresh(config, out).train(quiet)
    return out


def test_data_that_moved_are_taken(run: Path, tmp_path: Path):
    (tmp_path / "data.npz").rename(tmp_path / "moved.npz")
    again = Run.resumed(run, {"data": f"npz:{tmp_path / 'moved.npz'}", "steps": 3})
    assert again.advice == []
    again.train(quiet)
    found = load_checkpoint(run / "ckpt.pt")
    assert (found.step, found.config.data) == (3, f"npz:{tmp_path / 'moved.npz'}")


def test_a_run_goes_on_from_another_directory(tmp_path: Path, monkeypatch):
    (tmp_path / "home").mkdir()
    write_data(tmp_path / "data.npz")
    monkeypatch.chdir(tmp_path / "home")
    config = TrainConfig.for_type("cgan", "npz:../data.npz", steps=2, **SMALL)
    Run.fresh(config, Path("run")).train(quiet)
    (tmp_path / "elsewhere" / "deep").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "elsewhere" / "deep")
    out = tmp_path / "home" / "run"
    for steps in (3, 4):
        again = Run.resumed(out, {"steps": steps})
        assert (again.advice, again.config.data, again.data.source) == ([], "npz:../data.npz", "npz:../data.npz")
        again.train(quiet)
    (tmp_path / "data.npz").rename(tmp_path / "elsewhere" / "data.npz")  # a project that was moved
    assert Run.resumed(out, {"steps": 5}).advice == []
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=rf"npz:../data.npz: {tmp_path}/data.npz doesn't exist; give --data with its"):
        Run.resumed(out, {"steps": 5})
    content = torch.load(out / "ckpt.pt", weights_only=True)
    del content["data_at"]  # as of before it was written down
    save_durably(content, out / "ckpt.pt")
    monkeypatch.chdir(tmp_path / "elsewhere" / "deep")
    assert Run.resumed(out, {"steps": 5}).advice == []


@pytest.mark.parametrize("data", ["digits", "mnist#test", "hf:ylecun/mnist", "npz:/a/b.npz", "folder:~/pictures"])
def test_what_is_the_same_from_everywhere_stays_as_it_is(data: str):
    assert place_of(data) == data


def test_the_test_split_of_a_folder_is_found_again(tmp_path: Path, monkeypatch):
    (tmp_path / "mnist").mkdir()
    monkeypatch.chdir(tmp_path)
    place = place_of("idx:mnist#test")
    monkeypatch.chdir("/")
    assert find_again("idx:mnist#test", place) == f"idx:{tmp_path}/mnist#test"
    assert find_again("digits", "digits") == "digits"


def test_files_of_a_data_set_of_the_hub_are_found_again(tmp_path: Path, monkeypatch):
    (tmp_path / "rows").mkdir()
    monkeypatch.chdir(tmp_path)
    named = "hf:./rows?label=kind#train"
    place = place_of(named)
    monkeypatch.chdir("/")
    assert find_again(named, place) == f"hf:{tmp_path}/rows?label=kind#train"
    (tmp_path / "rows").rmdir()
    with pytest.raises(DataError, match=r"rows.*doesn't exist; give --data with its place now"):
        find_again(named, place)


def test_other_data_under_another_name_are_refused(run: Path, tmp_path: Path):
    other = write_data(tmp_path / "other.npz", change=1)
    with pytest.raises(ConfigError, match=r"can't change data \(was npz:.*, now npz:.*other.npz, which has other imag"):
        Run.resumed(run, {"data": other})


def test_other_data_under_the_same_name_are_told(run: Path, tmp_path: Path):
    write_data(tmp_path / "data.npz", change=1)
    again = Run.resumed(run, {"steps": 3})
    assert [line.startswith(f"the images or labels of npz:{tmp_path}") for line in again.advice] == [True]


def test_a_checkpoint_that_does_not_know_its_data(run: Path, tmp_path: Path):
    content = torch.load(run / "ckpt.pt", weights_only=True)
    del content["data_sha256"]  # as of before it was written down
    save_durably(content, run / "ckpt.pt")
    same = write_data(tmp_path / "same.npz")
    with pytest.raises(ConfigError, match=r"can't change data \(was npz:.*, now npz:.*same.npz\)"):
        Run.resumed(run, {"data": same})
    assert Run.resumed(run, {"steps": 3}).advice == []


def test_figures_that_an_older_version_measured_otherwise_are_told(run: Path):
    content = torch.load(run / "ckpt.pt", weights_only=True)
    del content["precision"]  # written down since they are measured as they are now
    save_durably(content, run / "ckpt.pt")
    assert Run.resumed(run, {"steps": 3}).advice == [], "nothing was measured"
    content["history"][-1]["frechet_distance"] = 3.0
    save_durably(content, run / "ckpt.pt")
    again = Run.resumed(run, {"steps": 3})
    (told,) = again.advice
    assert told.startswith("the figures up to step 2 are an older version's, which measured frechet_distance and memo")
    again.train(quiet)
    assert Run.resumed(run, {"steps": 4}).advice == []


def test_fewer_steps_than_are_done_are_refused_and_nothing_is_written(run: Path):
    before = (run / "ckpt.pt").read_bytes()
    with pytest.raises(ConfigError, match=r"steps is 1, and the run is at step 2 already; .* give more than 2"):
        Run.resumed(run, {"steps": 1})
    assert (run / "ckpt.pt").read_bytes() == before
    Run.resumed(run, {"steps": 2}).train(quiet)  # a script that repeats its command
    assert load_checkpoint(run / "ckpt.pt").step == 2


def test_a_run_whose_minutes_are_used_up_says_so(run: Path, tmp_path: Path):
    config = load_checkpoint(run / "ckpt.pt").config
    out = tmp_path / "timed"
    Run.fresh(config.with_changes({"minutes": 0.002, "steps": 10**6}), out).train(quiet)
    step, words = load_checkpoint(out / "ckpt.pt").step, "the run's 0.002 minutes are used up; they count all of the"
    for changes in ({}, {"steps": 10**6}, {"minutes": 0.002}):  # a script that repeats its command
        again = Run.resumed(out, changes)
        assert [line.startswith(words) for line in again.advice] == [True]
        assert re.search(r"give --minutes above [\d.]+, to go on$", again.advice[0])
    with pytest.raises(ConfigError, match=rf"{words} run: give --minutes above [\d.]+, or --set minutes=none"):
        Run.resumed(out, {"steps": step + 1})
    with pytest.raises(ConfigError, match=r"the run's 0\.001 minutes are used up"):
        Run.resumed(out, {"minutes": 0.001})
    Run.resumed(out, {"steps": step + 1, "minutes": None}).train(quiet)
    assert load_checkpoint(out / "ckpt.pt").step == step + 1


@pytest.mark.parametrize("seconds", [0.1, 6.0, 6.001, 7.0, 12.0, 3599.9])
def test_the_minutes_that_are_asked_for_are_enough_to_go_on(run: Path, seconds: float):
    checkpoint = dataclasses.replace(load_checkpoint(run / "ckpt.pt"), seconds=seconds)
    config = checkpoint.config.with_changes({"steps": 10, "minutes": seconds / 60})
    words = re.search(r"give --minutes above ([\d.]+), to go on$", why_finished(config, checkpoint))
    assert words is not None
    more = float(words[1]) + 0.01
    assert why_finished(config.with_changes({"minutes": more}), checkpoint) == ""
    assert more * 60 < seconds + 7, "rounded up to a tenth of a minute"


def test_a_finished_run_says_so_whatever_its_minutes(run: Path):
    checkpoint = dataclasses.replace(load_checkpoint(run / "ckpt.pt"), seconds=1000.0)
    config = changed_config(checkpoint, {"minutes": 0.5})
    assert why_finished(config, checkpoint) == "the run has done its 2 steps; give --steps above 2 to go on"


def test_the_device_that_auto_comes_to_is_no_change(run: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert Run.resumed(run, {"steps": 3, "device": "auto"}).config.steps == 3


def test_a_finished_run_says_so(run: Path):
    assert Run.resumed(run, {}).advice == ["the run has done its 2 steps; give --steps above 2 to go on"]
    assert Run.resumed(run, {"steps": 3}).advice == []


def test_one_minute_is_used_up(run: Path):
    checkpoint = load_checkpoint(run / "ckpt.pt")
    checkpoint = replace(checkpoint, config=checkpoint.config.with_changes({"minutes": 1.0, "steps": 9}), seconds=61)
    assert why_finished(checkpoint.config, checkpoint).startswith("the run's 1 minute is used up; it counts all of the")


def test_settings_that_can_not_change_are_named(run: Path):
    with pytest.raises(ConfigError, match=r"can't change latent_dim \(was 4, now 5\); start a new run"):
        Run.resumed(run, {"latent_dim": 5})


def test_a_stop_on_collapse_without_looks_is_refused(run: Path):
    with pytest.raises(ConfigError, match="watch_every is 0, and stop_on_collapse needs looks"):
        Run.resumed(run, {"steps": 3, "stop_on_collapse": True, "watch_every": 0})
    assert Run.resumed(run, {"steps": 3, "watch_every": 0}).config.watch_every == 0


@pytest.mark.parametrize(
    "same",
    [{"image_size": 16}, {"channels": 1}, {"device": "cpu"}, {"latent_dim": 4}],
    ids=lambda same: next(iter(same)),
)
def test_settings_that_say_what_holds_anyhow_are_no_change(run: Path, same: dict[str, object]):
    assert Run.resumed(run, {"steps": 3, **same}).config.steps == 3


@pytest.fixture
def native_bf16(monkeypatch: pytest.MonkeyPatch):
    """`native_bf16(False)`: a processor that doesn't multiply bfloat16; one that does is fast at it."""

    def make(has: bool) -> None:
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: has)
        monkeypatch.setattr("gan_training.device.is_bf16_faster", lambda: True)

    return make


def test_a_run_whose_precision_was_found_goes_on_with_it_or_says_otherwise(run: Path, tmp_path: Path, native_bf16):
    native_bf16(True)
    out = tmp_path / "auto"
    Run.fresh(load_checkpoint(run / "ckpt.pt").config.with_changes({"precision": "auto"}), out).train(quiet)
    assert load_checkpoint(out / "ckpt.pt").precision == "bf16"
    assert Run.resumed(out, {"steps": 3, "precision": "auto"}).advice == []
    with pytest.raises(ConfigError, match=r"can't change precision \(was auto, bf16, now fp32\)"):
        Run.resumed(out, {"steps": 3, "precision": "fp32"})
    native_bf16(False)
    words = "the run was trained in bf16, and goes on in fp32, as precision is auto; give --precision bf16 to keep it"
    assert Run.resumed(out, {"steps": 3}).advice == [words]
    kept = Run.resumed(out, {"steps": 3, "precision": "bf16"})
    assert (kept.advice, kept.bf16) == ([], True)
    kept.train(quiet)
    assert Run.resumed(out, {"steps": 4}).bf16, "from now on by name"


@pytest.mark.parametrize("began_faster", [True, False])
def test_a_run_keeps_its_precision_where_another_is_measured_to_be_faster_now(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, native_bf16, began_faster: bool
):
    native_bf16(True)
    monkeypatch.setattr("gan_training.device.is_bf16_faster", lambda: began_faster)
    out = tmp_path / "auto"
    Run.fresh(load_checkpoint(run / "ckpt.pt").config.with_changes({"precision": "auto"}), out).train(quiet)
    monkeypatch.setattr("gan_training.device.is_bf16_faster", lambda: not began_faster)
    resumed = Run.resumed(out, {"steps": 3})
    assert (resumed.bf16, resumed.advice) == (began_faster, [])


def test_a_checkpoint_that_does_not_know_its_precision_has_that_of_this_machine(run: Path, native_bf16):
    native_bf16(True)
    path = run / "ckpt.pt"
    content = torch.load(path, weights_only=True)
    del content["precision"]  # as of before it was written down
    content["config"]["precision"] = "auto"
    save_durably(content, path)
    assert Run.resumed(run, {"steps": 3}).advice == []
    assert Run.resumed(run, {"steps": 3, "precision": "bf16"}).bf16
    with pytest.raises(ConfigError, match="can't change precision"):
        Run.resumed(run, {"steps": 3, "precision": "fp32"})


@pytest.mark.parametrize(
    ("was", "now"), [("auto", "cuda:0"), ("cuda:1", "cuda:0"), ("cuda:1", "auto"), ("cuda", "auto")]
)
def test_another_gpu_is_no_change(run: Path, monkeypatch: pytest.MonkeyPatch, was: str, now: str):
    """Only the first is there: nothing is computed on it here."""

    def choose(name: str) -> torch.device:
        if name == "cuda:1":
            raise ConfigError("device 'cuda:1' can't be used here")
        return torch.device("cuda" if name == "auto" else name)

    monkeypatch.setattr("gan_training.runs.resume.choose_device", choose)
    checkpoint = load_checkpoint(run / "ckpt.pt")
    checkpoint = replace(checkpoint, config=checkpoint.config.with_changes({"device": was}))
    assert changed_config(checkpoint, {"device": now}).device == now
    with pytest.raises(ConfigError, match=rf"can't change device \(was {was}, now cpu\)"):
        changed_config(checkpoint, {"device": "cpu"})


def test_a_run_that_ended_while_another_began_is_not_written_over(run: Path, tmp_path: Path):
    config = load_checkpoint(run / "ckpt.pt").config
    first, second = Run.resumed(run, {"steps": 4}), Run.resumed(run, {"steps": 3})
    first.train(quiet)
    forced = Run.fresh(config, run, force=True)
    assert forced.found != second.found
    with pytest.raises(CheckpointError, match=r"another run has written or removed it since .* with --resume, or give"):
        second.train(quiet)
    assert load_checkpoint(run / "ckpt.pt").step == 4
    first.train(quiet)  # its own file is no stranger's
    with pytest.raises(CheckpointError, match="another run has written"):
        forced.train(quiet)
    new = [Run.fresh(config, tmp_path / "new") for _ in range(2)]
    new[0].train(quiet)
    with pytest.raises(CheckpointError, match="another run has written"):
        new[1].train(quiet)


def test_two_runs_in_one_folder_are_one_too_many(run: Path):
    before = {path.name: path.read_bytes() for path in run.iterdir() if path.is_file() and path.name != LOCK}
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, run], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdin is not None
    assert holder.stdout is not None
    try:
        assert holder.stdout.readline() == b"in\n"
        config = load_checkpoint(run / "ckpt.pt").config
        for second in (Run.resumed(run, {"steps": 3}), Run.fresh(config, run, force=True)):
            with pytest.raises(CheckpointError, match="another gan-train is training there; wait for its end, or give"):
                second.train(quiet)
        after = {path.name: path.read_bytes() for path in run.iterdir() if path.is_file() and path.name != LOCK}
        assert after == before
        holder.kill()
        holder.wait()
        with alone_in(run):  # who dies keeps out nobody
            pass
    finally:
        holder.kill()
        holder.wait()
        holder.stdin.close()
        holder.stdout.close()


@pytest.mark.parametrize(
    ("weight", "words"),
    [
        (0.0, "an older version's, which kept no optimiser state.*start a new run"),
        (1.0, "the checkpoint is damaged"),
    ],
)
def test_an_older_run_whose_classifier_was_never_trained_is_not_called_damaged(
    tmp_path: Path, weight: float, words: str
):
    settings = {"n_critic": 1, "conditional": True, "conditioned_by": "auxiliary", "auxiliary_weight": weight}
    out, data = tmp_path / "run", write_data(tmp_path / "data.npz")
    Run.fresh(TrainConfig.for_type("wgan", data, steps=1, **SMALL, **settings), out).train(quiet)
    content = torch.load(out / "ckpt.pt", weights_only=True)
    moments = content["trainer"]["critic_optimizer"]["state"]
    del moments[max(moments)], moments[max(moments)]  # the classifier's weights and biases come last
    save_durably(content, out / "ckpt.pt")
    with pytest.raises(CheckpointError, match=words):
        Run.resumed(out, {"steps": 2})
