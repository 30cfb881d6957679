"""`gan-client dataset` once more: killing it, a full disk or a loss cost nothing, and another request is refused."""

import os
import random
import resource
import signal
import time

import numpy as np
import pytest
from data_sets import hashes, start, table
from one_line import assert_one_line
from waiting import until

KILLS = 3


@pytest.mark.parametrize("layout", ["folder", "npz", "webdataset"])
def test_killed_at_any_moment_it_ends_with_the_same_bytes(service, dataset, tmp_path, layout):
    out = "d.npz" if layout == "npz" else "d"
    ask = ["--out", out, "--format", layout, "--n", "900", "--seed", "3", "--chunk", "10", "--quiet"]
    ask += ["--shard-size", "170"] if layout == "webdataset" else []
    (tmp_path / "whole").mkdir()
    (tmp_path / "killed").mkdir()
    assert dataset(*ask, cwd=tmp_path / "whole")[0] == 0
    draw = random.Random(layout)
    killed = 0
    for _ in range(KILLS):
        before = len(service.received)
        wait = draw.randrange(2, 30)
        process = start(service, *ask, cwd=tmp_path / "killed")
        while len(service.received) < before + wait and process.poll() is None:
            time.sleep(0.001)
        time.sleep(draw.uniform(0, 0.03))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        killed += process.returncode == -signal.SIGKILL
    assert killed
    assert dataset(*ask, cwd=tmp_path / "killed")[0] == 0
    assert hashes(tmp_path / "killed") == hashes(tmp_path / "whole")


@pytest.mark.parametrize("layout", ["folder", "webdataset"])
def test_any_loss_is_found_and_made_good(dataset, tmp_path, layout):
    ask = ["--out", "d", "--format", layout, "--n", "40", "--seed", "3"]
    ask += ["--shard-size", "15"] if layout == "webdataset" else []
    assert dataset(*ask, cwd=tmp_path)[0] == 0
    whole = hashes(tmp_path / "d")
    victims = [next(iter(sorted(name for name in whole if name.endswith((".png", ".tar"))))), "labels.csv"]
    for name in victims:
        (tmp_path / "d" / name).unlink()
        assert dataset(*ask, cwd=tmp_path)[0] == 0
        assert hashes(tmp_path / "d") == whole
    if layout == "webdataset":
        # As an interruption leaves it: every length that a shard under way can have.
        shard = tmp_path / "d" / "shard-000002.tar"
        part = shard.with_name(f"{shard.name}.part")
        content = shard.read_bytes()
        for length in (0, 511, 512, 2000, 6144, len(content) - 1, len(content)):
            shard.unlink()
            part.write_bytes(content[:length])
            assert dataset(*ask, cwd=tmp_path)[0] == 0
            assert hashes(tmp_path / "d") == whole


def test_the_same_command_without_a_seed_goes_on_with_the_first_ones(dataset, tmp_path):
    assert dataset("--out", "d", "--n", "30", cwd=tmp_path)[0] == 0
    before = hashes(tmp_path / "d")
    (tmp_path / "d" / table(tmp_path / "d" / "labels.csv")[20]["file"]).unlink()
    code, out, _ = dataset("--out", "d", "--n", "30", cwd=tmp_path)
    assert code == 0
    assert "(10 of them now" in out
    code, out, _ = dataset("--out", "d", "--n", "30", cwd=tmp_path)
    assert (code, hashes(tmp_path / "d")) == (0, before)
    assert "complete, there was nothing left to draw" in out


@pytest.mark.parametrize(
    ("options", "difference"),
    [
        (["--n", "31"], "n is 30 there and 31 here"),
        (["--n", "30", "--seed", "4"], "seed is 3 there and 4 here"),
        (["--n", "30", "--labels", "1,2"], "labels is 0,1,2,3,4,5,6,7,8,9 there and 1,2 here"),
        (["--n", "30", "--truncation", "1.5"], "truncation is none there and 1.5 here"),
        (["--n", "30", "--format", "webdataset"], "layout is folder there and webdataset here"),
    ],
)
def test_another_request_is_refused_and_named(dataset, tmp_path, options, difference):
    assert dataset("--out", "d", "--n", "30", "--seed", "3", cwd=tmp_path)[0] == 0
    before = hashes(tmp_path / "d")
    code, _, err = dataset("--out", "d", *options, cwd=tmp_path)
    assert code == 1
    assert_one_line(err, "d is another data set", difference, "--force")
    assert hashes(tmp_path / "d") == before


def test_force_replaces_a_data_set_and_nothing_else(dataset, tmp_path):
    assert dataset("--out", "d", "--n", "30", "--seed", "3", cwd=tmp_path)[0] == 0
    (tmp_path / "d" / "0" / "mine.txt").write_text("mine")
    assert dataset("--out", "d", "--n", "4", "--labels", "5", "--seed", "9", "--force", cwd=tmp_path)[0] == 0
    names = set(hashes(tmp_path / "d"))
    assert names == {"0/mine.txt", "labels.csv", "dataset.json"} | {f"5/00000000{i}_seed-{9 + i}.png" for i in range(4)}
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "mine.txt").write_text("mine")
    (tmp_path / "foreign.npz").write_text("mine")
    for out in ("foreign", "foreign.npz"):
        code, _, err = dataset("--out", out, "--n", "4", cwd=tmp_path)
        assert code == 1
        assert_one_line(err, f"{out} exists and is not a data set of gan-client")
    assert dataset("--out", "foreign", "--n", "4", "--force", cwd=tmp_path)[0] == 1
    assert [path.name for path in (tmp_path / "foreign").iterdir()] == ["mine.txt"]
    assert dataset("--out", "foreign.npz", "--n", "4", "--force", cwd=tmp_path)[0] == 0
    assert len(np.load(tmp_path / "foreign.npz")["images"]) == 4


def test_another_version_of_the_generator_is_refused(service, dataset, tmp_path):
    assert dataset("--out", "d", "--n", "30", "--seed", "3", cwd=tmp_path)[0] == 0
    service.artifact = "b" * 64
    code, _, err = dataset("--out", "d", "--n", "30", cwd=tmp_path)
    assert code == 1
    assert_one_line(err, f"artifact is {'a' * 27}... there and {'b' * 27}... here")


@pytest.mark.parametrize(("n", "changed"), [(3000, 2003), (600, 203)], ids=["between batches", "within one"])
def test_a_generator_that_changes_meanwhile_leaves_no_image_of_the_new_one(service, dataset, tmp_path, n, changed):
    drawn = service.draw

    def draw(request):
        if request.seed >= changed:
            service.artifact = "b" * 64
        return drawn(request)

    service.draw = draw
    code, _, err = dataset("--out", "d", "--n", str(n), "--seed", "3", "--chunk", "50", cwd=tmp_path)
    assert code == 1
    assert_one_line(err, "another version of 'acgan' now (artifact bbbbbbbbbbbb, not aaaaaaaaaaaa)")
    labels = tmp_path / "d" / "labels.csv"
    seeds = [int(row["seed"]) for row in table(labels)] if labels.exists() else []
    assert seeds == list(range(3, 3 + len(seeds)))
    assert len(seeds) <= changed - 3
    assert len(list((tmp_path / "d").glob("*/*.png"))) == len(seeds)


def test_ctrl_c_is_one_line_and_the_run_goes_on(service, dataset, tmp_path):
    ask = ["--out", "d", "--n", "3000", "--seed", "3", "--chunk", "20"]
    process = start(service, *ask, cwd=tmp_path)
    while not (tmp_path / "d" / "labels.csv").exists():
        time.sleep(0.001)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert_one_line(err, "interrupted: run the same command to continue with d")
    seeds = [int(row["seed"]) for row in table(tmp_path / "d" / "labels.csv")]
    assert 0 <= len(seeds) < 3000
    code, out, _ = dataset(*ask, cwd=tmp_path)
    assert code == 0
    assert [int(row["seed"]) for row in table(tmp_path / "d" / "labels.csv")] == list(range(3, 3003))
    assert len(list((tmp_path / "d").glob("*/*.png"))) == 3000


@pytest.mark.parametrize("options", [[], ["--force"]])
def test_what_the_very_start_left_is_gone_on_with(dataset, tmp_path, options):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "dataset.json.part").write_text("")
    assert dataset("--out", "d", "--n", "4", "--seed", "3", *options, cwd=tmp_path)[0] == 0
    assert not (tmp_path / "d" / "dataset.json.part").exists()


def test_a_finished_npz_stays_finished_whatever_another_command_left(dataset, tmp_path):
    command = ("--out", "y.npz", "--n", 20, "--seed", 5)
    assert dataset(*command, cwd=tmp_path)[0] == 0
    before = hashes(tmp_path)
    (tmp_path / "y.npz.part").mkdir()
    (tmp_path / "y.npz.part" / "dataset.json.part").write_text('{"n":')  # of one that was killed as it began anew
    assert dataset(*command, cwd=tmp_path)[0] == 0
    assert hashes(tmp_path) == before


@pytest.mark.parametrize("layout", ["npz", "webdataset"])
def test_a_full_disk_is_one_line_and_the_run_goes_on(service, dataset, tmp_path, layout):
    out = "d.npz" if layout == "npz" else "d"
    ask = ["--out", out, "--format", layout, "--n", "3000", "--seed", "3"]
    # No file may grow beyond this: what the kernel says then is told like a full disk.
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))  # noqa: E731
    env = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}  # it would be cut off
    process = start(service, *ask, cwd=tmp_path, preexec_fn=limit, env=env)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert_one_line(err, f"can't write to {out}: File too large; what is written is kept", "run the same command")
    assert not (tmp_path / "d.npz").exists()
    assert not list(tmp_path.glob("d/*.tar"))
    assert dataset(*ask, cwd=tmp_path)[0] == 0
    (tmp_path / "whole").mkdir()
    assert dataset(*ask, cwd=tmp_path / "whole")[0] == 0
    resumed = {name: digest for name, digest in hashes(tmp_path).items() if not name.startswith("whole/")}
    assert resumed == hashes(tmp_path / "whole")


def test_two_at_once_in_one_folder_are_refused(service, dataset, tmp_path):
    ask = ["--out", "d", "--n", "20000", "--seed", "3"]
    first = start(service, *ask, cwd=tmp_path)
    try:
        until((tmp_path / "d" / "labels.csv").exists, "the first one writes", process=first)
        code, _, err = dataset(*ask, cwd=tmp_path)
    finally:
        first.kill()
        first.communicate()
    assert code == 1
    assert_one_line(err, "another gan-client is writing into d")
