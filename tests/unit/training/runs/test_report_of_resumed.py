"""report.html of a run that was resumed has all that the page of one that never stopped has."""

import signal
from pathlib import Path

import pytest
from runs import quiet, resumed

from gan_training.runs.outcome import Progress, TrainingStoppedError


def press(_: Progress) -> None:
    signal.raise_signal(signal.SIGINT)


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
