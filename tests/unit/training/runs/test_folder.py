"""Where a run may start or go on: what stands there already, folders that can't be looked at, and moved ones."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import torch
from runs import quiet

from gan_training.checkpoint import CheckpointError, load_checkpoint
from gan_training.cli.request import Request, open_run
from gan_training.config import ConfigError
from gan_training.data import ImageData
from gan_training.evaluation.samples import prepare_samples
from gan_training.pages.page import check_target
from gan_training.parallel import SINGLE
from gan_training.runs.folder import LOCK, alone_in, check_folder, check_resumable

LOOKS: list[Callable[[Path], object]] = [
    check_folder,
    check_resumable,
    check_target,
    load_checkpoint,
    lambda path: prepare_samples(path, ImageData(torch.zeros(8, 1, 16, 16, dtype=torch.uint8), None, (), "toy"), 8),
]


@pytest.fixture
def unseen(tmp_path: Path) -> Iterator[Path]:
    """A path in a folder that this user may not enter; root may enter every one."""
    (tmp_path / "closed").mkdir(mode=0)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield tmp_path / "closed" / "run"
    finally:
        os.seteuid(user)
        (tmp_path / "closed").chmod(0o700)


@pytest.mark.parametrize("look", LOOKS)
def test_what_can_not_be_looked_at_is_told_in_one_line(look: Callable[[Path], object], unseen: Path):
    for path, why in ((unseen, "Permission denied"), (Path("n" * 300), "File name too long")):
        with pytest.raises(CheckpointError, match=rf"{path}.*: can't be (looked at|read): {why}") as caught:
            look(path)
        assert "\n" not in str(caught.value)


def request(out: Path, **options: bool) -> Request:
    changes = {"steps": 1, "generator_width": 4, "critic_width": 4, "device": "cpu"}
    return Request("dcgan", "digits", None, out, changes, **{"resume": False, "force": False, **options})


@pytest.mark.parametrize(
    ("name", "ways"), [("ckpt.pt", "--resume, --force or another --out"), ("best.pt", "--force or another --out")]
)
def test_what_a_run_has_left_is_deleted_only_when_that_is_asked_for(tmp_path: Path, name: str, ways: str):
    (tmp_path / name).write_bytes(b"of an earlier run")
    with pytest.raises(ConfigError, match=f"already holds {name}; give {ways}"):
        open_run(request(tmp_path), SINGLE, lambda *_: None)
    for options in ({"dry_run": True}, {"force": True}):
        open_run(request(tmp_path, **options), SINGLE, lambda *_: None)
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("when", [3, 4, "evaluation"])  # before a step, and before a checkpoint
def test_a_run_whose_folder_was_moved_leaves_the_one_in_its_place_alone(
    make_run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: int | str
):
    monkeypatch.setenv("GAN_CACHE", str(tmp_path / "cache"))  # another test's classifier would be taken
    out, moved = tmp_path / "run", tmp_path / "moved"
    of_another: dict[str, bytes] = {}
    with ExitStack() as other:

        def move() -> None:
            out.rename(moved)
            make_run("dcgan", out, steps=1, seed=5).train(quiet)
            other.enter_context(alone_in(out))  # and goes on
            of_another.update((path.name, path.read_bytes()) for path in out.iterdir() if path.is_file())

        run = make_run("dcgan", out, checkpoint_every=2, evaluate_every=3 if when == "evaluation" else 0)
        run.observer.tell = lambda *_: None if of_another else move()  # a classifier is trained
        with pytest.raises(CheckpointError, match="run: was moved or removed while this run trained in it; if it was"):
            run.train(lambda progress: move() if progress.step == when else None)
        assert {"ckpt.pt", "metrics.jsonl", LOCK} <= of_another.keys()
        assert {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()} == of_another
    assert load_checkpoint(moved / "ckpt.pt").step == 2
