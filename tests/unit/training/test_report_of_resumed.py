"""report.html of a run that was resumed has all that the page of one that never stopped has."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from gan_training.checkpoint import load_checkpoint
from gan_training.data import ImageData
from gan_training.outcome import Progress, TrainingStoppedError
from gan_training.run import Run


@pytest.fixture
def sigint() -> Iterator[None]:
    """Python's own handler of SIGINT, also where the test run was started with the signal ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def quiet(_: Progress) -> None:
    """No report."""


def press(_: Progress) -> None:
    signal.raise_signal(signal.SIGINT)


def resumed(out: Path, data: ImageData, **changes) -> Run:
    checkpoint = load_checkpoint(out / "ckpt.pt")
    return Run(checkpoint.config.with_changes(changes), out, data, checkpoint)


def shows_neighbours(out: Path) -> bool:
    return 'id="neighbours"' in (out / "report.html").read_text()


@pytest.mark.parametrize("sample_every", [1, 1000])
def test_a_finished_run_that_goes_on_shows_the_nearest_training_images(make_run, toy_data, tmp_path, sample_every):
    make_run("dcgan", tmp_path, report=True, steps=2, sample_every=sample_every).train(quiet)
    assert shows_neighbours(tmp_path)
    resumed(tmp_path, toy_data()).train(quiet)
    assert shows_neighbours(tmp_path)


@pytest.mark.usefixtures("sigint")
def test_a_run_that_stops_before_its_next_grid_shows_them_too(make_run, toy_data, tmp_path):
    make_run("dcgan", tmp_path, report=True, steps=2, sample_every=2).train(quiet)
    with pytest.raises(TrainingStoppedError):
        resumed(tmp_path, toy_data(), steps=6).train(press)
    assert shows_neighbours(tmp_path)


@pytest.mark.usefixtures("sigint")
def test_a_run_without_a_grid_shows_none(make_run, tmp_path):
    with pytest.raises(TrainingStoppedError):
        make_run("dcgan", tmp_path, report=True, steps=6, sample_every=4).train(press)
    assert not shows_neighbours(tmp_path)
