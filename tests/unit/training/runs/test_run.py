"""A run in its folder: what it writes, stops and starts, and what Ctrl-C may not break."""

import json
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from PIL import Image
from runs import quiet, resumed

from gan_training.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from gan_training.config import ConfigError, TrainConfig
from gan_training.data import DataError, ImageData
from gan_training.device import choose_bf16, compute_exactly, is_bf16_faster
from gan_training.evaluation.samples import generate, prepare_samples
from gan_training.metrics import features
from gan_training.parallel import Parallel
from gan_training.runs.outcome import Progress, TrainingDivergedError
from gan_training.runs.run import Run


@pytest.mark.usefixtures("sigint")
def test_training_works_in_another_thread(make_run, tmp_path):
    run = make_run("dcgan", tmp_path)
    thread = threading.Thread(target=run.train, args=(quiet,))
    thread.start()
    thread.join(60)
    assert load_checkpoint(tmp_path / "ckpt.pt").step == 6


@pytest.mark.parametrize("net", ["generator", "critic"])
@pytest.mark.parametrize("damage", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_never_replace_a_checkpoint(make_run, tmp_path, net, damage):
    """A step whose losses were finite can leave weights that aren't, and a checkpoint may be due right then."""
    run = make_run("dcgan", tmp_path, checkpoint_every=2)

    def break_weights(progress: Progress) -> None:
        if progress.step == 4:
            with torch.no_grad():
                next(getattr(run.trainer, net).parameters()).view(-1)[0] = damage

    with pytest.raises(TrainingDivergedError, match=rf"the {net}'s .*weight is not finite.*holds the last good state"):
        run.train(break_weights)
    assert load_checkpoint(tmp_path / "ckpt.pt").step == 2


@pytest.mark.parametrize("net", ["generator", "ema"])
@pytest.mark.usefixtures("cache")
def test_weights_that_are_not_finite_are_never_the_best(make_run, tmp_path, monkeypatch, net):
    """NaN becomes a pixel like any other, so that an evaluation would not notice."""
    monkeypatch.setattr(features, "STEPS", 2)
    run = make_run("dcgan", tmp_path / "run", log_every=3, evaluate_every=3)
    step = run.trainer.step

    def broken():
        losses = step()
        if run.step == 3:
            with torch.no_grad():
                next(getattr(run.trainer, net).parameters()).view(-1)[0] = float("nan")
        return losses

    monkeypatch.setattr(run.trainer, "step", broken)
    which = {"generator": "generator", "ema": "average"}[net]
    with pytest.raises(TrainingDivergedError, match=rf"the {which}'s .* is not finite before step 3"):
        run.train(quiet)
    assert not (tmp_path / "run" / "best.pt").exists()


def test_images_that_are_not_finite_end_the_run_and_are_not_evaluated(make_run, tmp_path):
    """Finite weights, so large that what they make isn't."""
    run = make_run("dcgan", tmp_path, steps=2)
    path = run.train(quiet)
    for name, value in run.trainer.ema.state_dict().items():
        if name.endswith("running_var"):
            value.fill_(0.0)
        elif value.is_floating_point():
            value.fill_(3e38)
    with pytest.raises(TrainingDivergedError, match="the generator's images are not finite before step 2"):
        run.train(quiet)
    checkpoint = load_checkpoint(path)
    checkpoint.trainer["ema"] = run.trainer.ema.state_dict()
    save_checkpoint(checkpoint, path)
    with pytest.raises(CheckpointError, match=r"ckpt.pt: the generator's images are not finite: its training has div"):
        prepare_samples(path, run.data, 8).draw(lambda *_: None)


def test_a_loss_that_is_not_finite_ends_the_run_without_a_checkpoint_of_it(make_run, tmp_path):
    run = make_run("wgan", tmp_path, report=True)
    with torch.no_grad():
        run.trainer.critic.score.bias.fill_(float("nan"))
    with pytest.raises(TrainingDivergedError) as caught:
        run.train(quiet)
    assert "critic_loss is nan before step 1: training has diverged; try a lower learning rate" in str(caught.value)
    assert not (tmp_path / "ckpt.pt").exists()
    assert '<p class="verdict bad">diverged</p>' in (tmp_path / "report.html").read_text()


def test_files_come_when_they_are_due(make_run, tmp_path):
    steps = []
    run = make_run("cgan", tmp_path, steps=11, log_every=3, sample_every=4, checkpoint_every=5)
    path = run.train(lambda progress: steps.append(progress.step))
    assert path == tmp_path / "ckpt.pt"
    # A line at each boundary, so that a resumed run's lines average over the same steps.
    assert steps == [3, 4, 5, 6, 8, 9, 10, 11]
    assert [json.loads(line)["step"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()] == steps
    pictures = sorted(path.name for path in (tmp_path / "samples").iterdir())
    assert pictures == ["step_0000004.png", "step_0000008.png", "step_0000011.png"]
    with Image.open(tmp_path / "samples" / pictures[0]) as picture:
        assert picture.mode == "L"
        assert picture.size == (8 * 18 + 2, 5 * 18 + 2)  # 8 columns, a row for each of 5 classes, 2 pixels between
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ckpt.pt", "metrics.jsonl", "samples"]


def test_progress_counts_images_and_time(make_run, tmp_path):
    seen: list[Progress] = []
    make_run("wgan", tmp_path, n_critic=3, log_every=2).train(seen.append)
    assert [round(p.share, 3) for p in seen] == [0.333, 0.667, 1.0]
    assert seen[-1].seconds_left == 0
    assert all(p.images_per_second > 0 for p in seen)
    images = 6 * 3 * 8
    assert images / seen[-1].seconds <= 1.05 * max(p.images_per_second for p in seen)


def test_minutes_end_a_run_before_its_steps(make_run, tmp_path):
    run = make_run("dcgan", tmp_path, steps=100_000_000, minutes=0.002)
    run.train(quiet)
    assert 0 < run.step < 100_000_000
    assert 0.12 <= run.seconds < 30
    assert load_checkpoint(tmp_path / "ckpt.pt").step == run.step


def test_a_forced_start_leaves_nothing_of_the_run_before(make_run, tmp_path):
    make_run("cgan", tmp_path, sample_every=2).train(quiet)
    run = make_run("wgan", tmp_path, sample_every=4)
    with torch.no_grad():
        run.trainer.critic.score.bias.fill_(float("nan"))
    with pytest.raises(TrainingDivergedError):
        run.train(quiet)
    # The next --resume would have gone on with the other run.
    assert not (tmp_path / "ckpt.pt").exists()
    assert list((tmp_path / "samples").iterdir()) == []
    assert (tmp_path / "metrics.jsonl").read_text() == ""


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"classes": 4}, "(size or classes)"),
        ({"size": 20}, "(size or classes)"),
        ({"channels": 3}, "(size or classes)"),
        ({"n": 9}, "position 16 doesn't fit 9 images"),
    ],
)
def test_resuming_on_other_data_is_refused(make_run, toy_data, tmp_path, other, words):
    make_run("cgan", tmp_path, steps=2).train(quiet)
    with pytest.raises(DataError) as caught:
        resumed(tmp_path, toy_data(**other))
    assert "toy: is no longer the data" in str(caught.value)
    assert words in str(caught.value)


def test_types_that_need_labels_refuse_data_without_classes(make_run, toy_data, tmp_path):
    for gan_type, settings in (("cgan", {}), ("acgan", {}), ("wgan", {"conditional": True})):
        with pytest.raises(DataError, match="has no labels"):
            make_run(gan_type, tmp_path, toy_data(classes=0), **settings)
        with pytest.raises(DataError, match="has one class"):
            make_run(gan_type, tmp_path, toy_data(classes=1), **settings)


@pytest.mark.parametrize("device", ["gpu", "cuda:99", "meta", "meta?", ""])
def test_a_device_that_is_not_there_is_refused_in_one_line(make_run, tmp_path, device):
    with pytest.raises(
        ConfigError, match=r"(can't be used here .*|is not a device); use auto, cpu(, cuda)? or cuda"
    ) as caught:
        make_run("dcgan", tmp_path, device=device)
    assert "\n" not in str(caught.value)


def test_a_gpu_is_asked_itself_and_computes_as_precisely_as_told(monkeypatch):
    asked, current = [], []

    class Current:
        def __init__(self, device):
            current.append(device)

        def __enter__(self):
            """Nothing else."""

        def __exit__(self, *_):
            current.pop()

    monkeypatch.setattr(torch.cuda, "device", Current)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: bool(asked.append(current[-1])) or True)
    assert choose_bf16("auto", torch.device("cuda:1"))
    assert asked == [torch.device("cuda:1")]
    for name in ("deterministic", "allow_tf32"):
        monkeypatch.setattr(torch.backends.cudnn, name, getattr(torch.backends.cudnn, name))
    for bf16 in (False, True):
        compute_exactly(torch.device("cuda"), bf16=bf16)
        assert (torch.backends.cudnn.deterministic, torch.backends.cudnn.allow_tf32) == (True, bf16)


def test_resume_in_a_folder_without_a_checkpoint_says_so(tmp_path):
    with pytest.raises(CheckpointError, match=r"ckpt.pt: no such file"):
        Run.resumed(tmp_path, {})


def test_an_existing_run_is_not_overwritten(make_run, tmp_path):
    make_run("dcgan", tmp_path, steps=1).train(quiet)
    before = (tmp_path / "ckpt.pt").read_bytes()
    with pytest.raises(ConfigError, match=r"already holds ckpt.pt; give --resume, --force or another --out"):
        Run.fresh(TrainConfig.for_type("dcgan", "digits"), tmp_path)
    assert (tmp_path / "ckpt.pt").read_bytes() == before


@pytest.mark.usefixtures("cache")
def test_classes_of_one_image_each_are_evaluated(make_run, toy_data, tmp_path, monkeypatch):
    monkeypatch.setattr(features, "STEPS", 3)
    run = make_run("cgan", tmp_path / "run", toy_data(30, classes=30), steps=1, evaluate_every=1)
    run.train(quiet)
    assert "frechet_distance" in run.observer.history[-1]


@pytest.mark.usefixtures("cache")
def test_a_run_and_gan_eval_ask_for_classes_as_the_data_have_them(make_run, toy_data, tmp_path, monkeypatch):
    monkeypatch.setattr(features, "STEPS", 2)
    asked = []

    def listen(*arguments, **options):
        asked.append(generate(*arguments, **options))
        return asked[-1]

    monkeypatch.setattr("gan_training.evaluation.validation.generate", listen)
    whole = toy_data(60, classes=5)
    rows = torch.cat([torch.arange(0, 60, 5), torch.tensor([1, 2, 3, 4])])  # 12 of the first class, one of each other
    data = ImageData(whole.images[rows], whole.labels[rows], whole.class_names, "toy")
    path = make_run("cgan", tmp_path / "run", data, evaluate_every=6).train(quiet)
    asked.append(prepare_samples(path, data, 2000).draw(lambda *_: None))
    assert [samples.labels.bincount().tolist() for samples in asked] == [[1500, 125, 125, 125, 125]] * 2


@pytest.mark.parametrize("images", [2, 3])
@pytest.mark.usefixtures("cache")
def test_the_fewest_images_are_evaluated_if_they_can_be(make_run, toy_data, tmp_path, images):
    run = make_run("dcgan", tmp_path / "run", toy_data(images, classes=0), steps=1, evaluate_every=1)
    run.train(quiet)
    assert ("frechet_distance" in run.observer.history[-1]) == (run.out / "best.pt").exists() == (images > 2)


def test_without_tensorboard_a_forced_run_deletes_nothing(make_run, tmp_path, monkeypatch):
    make_run("dcgan", tmp_path, sample_every=2).train(quiet)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)  # as where it is not installed
    with pytest.raises(ConfigError, match=r"pip install 'ganworks\[tensorboard\]'"):
        make_run("dcgan", tmp_path).train(quiet, tensorboard=True)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()} == before


def test_measures_keep_six_digits_however_small(make_run, tmp_path):
    run = make_run("dcgan", tmp_path, evaluate_every=0)
    run.observer.open(None, lambda: None)
    run.observer.observe({"step": 1_234_567, "frechet_distance": 0.00123456789}, run.trainer)
    line = run.observer.history[-1]
    assert (line["step"], line["frechet_distance"]) == (1_234_567, 0.00123457)


@pytest.mark.parametrize(("has", "faster"), [(True, True), (True, False), (False, True), (False, False)])
def test_a_processor_is_given_bfloat16_where_it_has_it_and_is_faster_with_it(
    monkeypatch: pytest.MonkeyPatch, has: bool, faster: bool
):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: has)
    monkeypatch.setattr("gan_training.device.is_bf16_faster", lambda: faster)
    cpu = torch.device("cpu")
    assert choose_bf16("auto", cpu) == (has and faster)
    assert (choose_bf16("bf16", cpu), choose_bf16("fp32", cpu)) == (True, False)


@pytest.mark.parametrize("slower", [torch.float32, torch.bfloat16])
def test_which_of_both_is_faster_is_measured(monkeypatch: pytest.MonkeyPatch, slower: torch.dtype):
    def product(first: torch.Tensor, _: torch.Tensor) -> None:
        if first.dtype == slower:
            _work(0.005)

    monkeypatch.setattr(torch, "mm", product)
    assert is_bf16_faster.__wrapped__() == (slower == torch.float32)


def test_time_that_other_programs_take_does_not_decide_which_is_faster(monkeypatch: pytest.MonkeyPatch):
    threads = torch.get_num_threads()
    used: set[int] = set()

    def product(first: torch.Tensor, _: torch.Tensor) -> None:
        used.add(torch.get_num_threads())
        if first.dtype == torch.float32:
            _work(0.002)
        else:
            time.sleep(0.02)  # as if another program had the processor

    monkeypatch.setattr(torch, "mm", product)
    assert is_bf16_faster.__wrapped__()
    assert used == {1}, "threads wait for each other, longest where programs share the processor"
    assert torch.get_num_threads() == threads


def _work(seconds: float) -> None:
    """Keep the processor busy for that long."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def test_processes_that_train_together_use_bfloat16_where_all_are_faster_with_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    class WithSlowPeer(Parallel):
        def anyone(self, _flag: bool) -> bool:
            return True

    config = TrainConfig.for_type("dcgan", "digits", steps=1)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    monkeypatch.setattr("gan_training.device.is_bf16_faster", lambda: True)
    assert Run.fresh(config, tmp_path / "alone").precision == "bf16"
    assert Run.fresh(config, tmp_path / "with", parallel=WithSlowPeer()).precision == "fp32"
