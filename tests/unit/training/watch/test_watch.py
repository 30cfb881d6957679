"""The watch on runs that really fail, and on runs that don't."""

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from runs import quiet

from gan_training.config import TrainConfig
from gan_training.data import ImageData, load_data
from gan_training.objectives import Batch
from gan_training.runs.outcome import Progress, TrainingDivergedError
from gan_training.runs.run import Run
from gan_training.watch.monitor import Monitor
from gan_training.watch.rules import RULES

WITHIN = 500  # steps in which an alarm must ring
SMALL = {
    "image_size": 16,
    "generator_width": 16,
    "critic_width": 32,
    "steps": WITHIN,
    "batch_size": 32,
    "checkpoint_every": 10_000,
    "sample_every": 10_000,
    "evaluate_every": 0,
    "report": False,
    "precision": "fp32",
    "device": "cpu",
}
"""A net that learns digits in seconds."""

FOR_TYPE: dict[str, dict[str, Any]] = {
    # With the defaults, so small an acgan draws nearly one image per class: the alarm rings, and is right.
    "acgan": {"embed_dim": 8, "r1_gamma": 1.0},
    "wgan": {"n_critic": 2, "batch_size": 16},
}


@pytest.fixture(scope="module")
def digits() -> ImageData:
    return load_data("digits", 16)


@pytest.fixture
def small_run(digits: ImageData, tmp_path: Path) -> Callable[..., Run]:
    def make(gan_type: str, **settings: Any) -> Run:
        settings = SMALL | FOR_TYPE.get(gan_type, {}) | settings
        return Run(TrainConfig.for_type(gan_type, "digits", **settings), tmp_path / "run", digits)

    return make


class AlarmRangError(Exception):
    """An alarm rang: no need to train on."""


def alarm_of(run: Run) -> str | None:
    """Train until the first alarm; its kind, or None if none rings."""

    def listen(progress: Progress) -> None:
        if progress.alarms:
            raise AlarmRangError

    with contextlib.suppress(AlarmRangError):
        run.train(listen)
    return next((alarm.kind for alarm in run.observer.monitor.alarms), None)


def only_threes(run: Run, digits: ImageData) -> None:
    """From now on the critic sees one class only, whatever the labels say."""
    threes = digits.images[digits.labels == 3].float() / 127.5 - 1
    rng, before = torch.Generator().manual_seed(0), run.trainer.batches

    def batches():
        for batch in before:
            yield Batch(threes[torch.randint(len(threes), (len(batch.images),), generator=rng)], batch.labels)

    run.trainer.batches = batches()


@pytest.mark.slow
@pytest.mark.parametrize("gan_type", ["dcgan", "cgan", "acgan", "wgan"])
def test_a_healthy_run_rings_no_alarm(small_run, gan_type):
    run = small_run(gan_type)
    run.train(quiet)
    assert run.observer.monitor.alarms == []
    assert run.observer.monitor.verdict == "healthy"
    assert not (run.out / "alarms.jsonl").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("gan_type", "latent_dim"), [("dcgan", 1), ("dcgan", 2), ("cgan", 1), ("cgan", 2), ("acgan", 2), ("wgan", 2)]
)
def test_a_tiny_latent_rings_the_collapse_alarm(small_run, gan_type, latent_dim):
    run = small_run(gan_type, latent_dim=latent_dim)
    assert alarm_of(run) == "collapse"
    assert run.observer.monitor.verdict == "collapse"
    lines = [json.loads(line) for line in (run.out / "alarms.jsonl").read_text().splitlines()]
    assert [line["kind"] for line in lines] == [alarm.kind for alarm in run.observer.monitor.alarms]


@pytest.mark.slow
@pytest.mark.parametrize("gan_type", ["dcgan", "cgan", "acgan", "wgan"])
def test_a_critic_that_sees_one_class_rings_the_collapse_alarm(small_run, digits, gan_type):
    run = small_run(gan_type)
    only_threes(run, digits)
    assert alarm_of(run) == "collapse"


@pytest.mark.slow
@pytest.mark.parametrize("gan_type", ["dcgan", "cgan", "acgan", "wgan"])
def test_learning_rates_50_times_too_high_ring_an_alarm(small_run, gan_type):
    normal = TrainConfig.for_type(gan_type, "digits")
    run = small_run(gan_type, generator_lr=50 * normal.generator_lr, critic_lr=50 * normal.critic_lr)
    try:
        assert alarm_of(run) in ("collapse", "exploded")
    except TrainingDivergedError:
        return  # not a number: stopped at once, which is more than an alarm


@pytest.mark.slow
def test_stop_on_collapse_stops_and_keeps_the_state(small_run):
    run = small_run("dcgan", latent_dim=1, stop_on_collapse=True)
    with pytest.raises(TrainingDivergedError, match=r"stopped at step \d+: samples .*mode collapse.*ckpt.pt holds"):
        run.train(quiet)
    assert run.step < WITHIN
    assert (run.out / "ckpt.pt").is_file()


def test_looking_changes_no_bit_of_a_run(make_run, tmp_path):
    """Neither the weights nor a random state know whether anybody looked."""
    finished = []
    for name, every in (("looked", 1), ("not", 0)):
        run = make_run("acgan", tmp_path / name, dropout=0.2, watch_every=every, sample_every=every or 1000)
        run.train(quiet)
        finished.append(torch.load(tmp_path / name / "ckpt.pt", weights_only=True))
    looked, not_looked = finished
    assert all("diversity" in line for line in looked["history"])
    assert not any("diversity" in line for line in not_looked["history"])
    for net in ("generator", "critic", "ema"):
        for key, value in looked["trainer"][net].items():
            assert torch.equal(value, not_looked["trainer"][net][key]), key
    for key in ("rng", "torch_rng"):
        assert torch.equal(looked["trainer"][key], not_looked["trainer"][key])


def test_a_resumed_watch_is_in_the_state_of_one_that_never_stopped():
    lines = [
        {"step": 20.0 * i, "real_accuracy": 1.0, "fake_accuracy": 1.0, "generator_loss": 6.0} for i in range(1, 60)
    ]
    straight, first, second = Monitor(), Monitor(), Monitor()
    straight.replay(lines)
    first.replay(lines[:30])
    second.replay(lines[:30])
    second.replay(lines[30:])
    assert [alarm.kind for alarm in straight.alarms] == ["critic-wins"]
    assert second.alarms == straight.alarms
    assert second.verdict == straight.verdict == "critic-wins"


def bce(real: float, fake: float, critic: float = 1.2, generator: float = 0.9) -> dict[str, float]:
    return {"real_accuracy": real, "fake_accuracy": fake, "critic_loss": critic, "generator_loss": generator}


def wasserstein(critic: float, penalty: float = 0.05) -> dict[str, float]:
    return {"real_score": 1.0, "fake_score": 1.0 + critic, "critic_loss": critic, "gradient_penalty": penalty}


def every(lines: int, i: int, **measures: float) -> dict[str, float]:
    """What is measured once in so many lines."""
    return measures if i % lines == 0 else {}


@pytest.mark.parametrize(
    ("kind", "line"),
    [
        (None, lambda _: bce(0.7, 0.7)),
        (None, lambda _: bce(0.9, 0.95, 0.6, 2.0)),
        (None, lambda i: wasserstein(-2.0 + 0.3 * (-1) ** i)),
        (None, lambda i: wasserstein(-20.0, penalty=19.0) if i < 8 else wasserstein(-2.0)),
        (None, lambda i: bce(0.5, 0.6, 70_000.0, 900.0) if i < 5 else bce(0.7, 0.7)),
        (None, lambda i: wasserstein(-2.0) | {"penalty_loss": 100.0 if i < 5 else 0.1}),
        (None, lambda i: bce(0.7, 0.7, 1.2 + (0.6 * (-1) ** (i // 2) if i < 15 else 0.0))),
        (None, lambda _: bce(0.99, 1.0, 0.05, 1.0)),  # a generator that learns all the same
        (None, lambda i: bce(0.7, 0.7) | every(25, i, diversity=0.24 + 0.06 * (i // 25))),  # it still learns
        (None, lambda i: bce(0.7, 0.7) | every(25, i, diversity=0.14 + 0.06 * (i // 25), classes_covered=0.3)),
        (None, lambda i: bce(0.7, 0.7) | every(5, i, diversity=1.0, spacing=0.1 if i < 15 else 1.0)),
        ("critic-wins", lambda _: bce(0.99, 1.0, 0.05, 5.0)),
        ("critic-lost", lambda _: bce(0.5, 0.52, 1.386, 0.69)),
        ("critic-lost", lambda _: wasserstein(0.01)),
        ("exploded", lambda _: bce(0.5, 0.6, 70_000.0, 900.0)),
        ("exploded", lambda _: wasserstein(-5_000.0)),
        ("exploded", lambda _: wasserstein(-10.0, penalty=40.0)),
        ("exploded", lambda i: wasserstein(-2.0) | {"penalty_loss": 20.0 * (i % 2)}),
        ("oscillation", lambda i: bce(0.7, 0.7, 1.2 + 0.6 * (-1) ** (i // 2))),
        ("oscillation", lambda i: wasserstein(-2.0 + 1.9 * (-1) ** (i // 2))),
        ("memorisation", lambda _: bce(0.7, 0.7) | {"memorisation_ratio": 0.2}),
        ("collapse", lambda i: bce(0.7, 0.7) | every(25, i, diversity=0.3 + 0.01 * (i // 25))),
        ("collapse", lambda i: bce(0.7, 0.7) | every(25, i, diversity=0.5 + 0.06 * (i // 25), classes_covered=0.3)),
        ("collapse", lambda i: bce(0.7, 0.7) | every(5, i, diversity=1.0, spacing=0.1)),
    ],
)
def test_each_kind_of_instability_has_its_own_alarm(kind, line):
    monitor = Monitor()
    monitor.replay({"step": 20.0 * i} | line(i) for i in range(1, 75))
    assert {alarm.kind for alarm in monitor.alarms} == ({kind} if kind else set())
    assert monitor.verdict == (kind or "healthy")


def test_an_alarm_rings_once_and_again_when_the_fault_comes_back():
    def stretch(first: int, last: int, ratio: float) -> list[dict[str, float]]:
        return [{"step": float(step), "memorisation_ratio": ratio} for step in range(first, last, 100)]

    monitor = Monitor()
    monitor.replay(stretch(100, 1000, 0.3) + stretch(1000, 1100, 1.0) + stretch(1100, 1300, 0.3))
    assert [(alarm.step, alarm.kind) for alarm in monitor.alarms] == [(100, "memorisation")], "it was hardly gone"
    monitor = Monitor()
    monitor.replay(stretch(100, 1000, 0.3) + stretch(1000, 2000, 1.0) + stretch(2000, 2500, 0.3))
    assert [(alarm.step, alarm.kind) for alarm in monitor.alarms] == [(100, "memorisation"), (2000, "memorisation")]
    assert len({rule.kind for rule in RULES}) == len(RULES)


def looks(measure: str, every: int, values: list[float]) -> list[dict[str, float]]:
    """Lines every 20 steps, with a look every so many."""
    lines = [{"step": float(step)} | bce(0.7, 0.7) for step in range(20, every * len(values) + every, 20)]
    for number, value in enumerate(values, 1):
        lines[number * every // 20 - 1][measure] = value
    return lines


@pytest.mark.parametrize(
    ("kind", "measure", "every", "low"),
    [("collapse", "diversity", 2000, 0.1), ("memorisation", "memorisation_ratio", 6000, 0.2)],
)
def test_a_fault_stands_until_the_next_look_however_rare_looks_are(kind, measure, every, low):
    first = 2 if kind == "collapse" else 1  # looks until it rings
    monitor = Monitor()
    lines = looks(measure, every, [low, low, low, 1.0, low, low])
    for line in lines:
        monitor.update(line)
        if first * every <= line["step"] < 4 * every:
            assert monitor.verdict == kind
        if line["step"] == 4 * every:
            assert monitor.verdict == "healthy"
    assert [alarm.step for alarm in monitor.alarms] == [first * every, (4 + first) * every]


def test_lines_that_lie_far_apart_are_judged_and_a_lasting_fault_rings_once():
    monitor = Monitor()
    monitor.replay({"step": 2000.0 * i} | bce(0.99, 1.0, 0.05, 5.0) for i in range(1, 8))
    assert [(alarm.step, alarm.kind) for alarm in monitor.alarms] == [(4000, "critic-wins")]


def test_a_penalty_that_is_rare_is_judged_by_its_last_value():
    """As with gp_every=500 and n_critic=1."""
    monitor = Monitor()
    for i in range(1, 101):
        line = {"step": 20.0 * i, "real_score": 1.0, "critic_loss": -2.0}
        monitor.update(line | ({"penalty_loss": 20.0} if line["step"] % 500 == 20 else {}))
    assert [alarm.kind for alarm in monitor.alarms] == ["exploded"]
    assert monitor.verdict == "exploded"
