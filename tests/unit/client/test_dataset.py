"""`gan-client dataset`: what it writes, and that killing it loses nothing and doubles nothing."""

import csv
import hashlib
import io
import itertools
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tarfile
import time
from collections import Counter

import numpy as np
import pytest
from one_line import assert_one_line
from PIL import Image
from waiting import until

from gan_client import cli
from gan_client.commands.progress import ProgressLines

COMMAND = [sys.executable, "-m", "gan_client.cli", "dataset"]
KILLS = 3


def start(service, *arguments, cwd, **options):
    """A process of its own."""
    return subprocess.Popen(
        [*COMMAND, *map(str, arguments), "--url", service.url],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


@pytest.fixture
def dataset(service, capsys, monkeypatch):
    """Run the command to its end: exit code, stdout, stderr. In this process: a process for each takes long."""

    def run(*arguments, cwd):
        monkeypatch.chdir(cwd)
        code = cli.run(["dataset", *map(str, arguments), "--url", service.url])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


def hashes(folder):
    """Every file below `folder` by its hash."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def table(path):
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_folder(service, dataset, tmp_path):
    service.class_names = ["T-shirt", "猫/犬", "Bag"]
    code, out, err = dataset("--out", "d", "--each", "4", "--seed", "7", cwd=tmp_path)
    assert (code, err) == (0, "")
    assert out.startswith("12 images of 'acgan', seeds 7-18 -> d (")
    rows = table(tmp_path / "d" / "labels.csv")
    assert [row["file"] for row in rows[:2]] == ["T-shirt/000000000_seed-7.png", "猫-犬/000000001_seed-8.png"]
    assert Counter(row["label_name"] for row in rows) == dict.fromkeys(service.class_names, 4)
    for row in rows:
        assert (tmp_path / "d" / row["file"]).read_bytes() == service.png(int(row["seed"]), int(row["label"]))
    assert len(hashes(tmp_path / "d")) == 12 + 2  # labels.csv and dataset.json
    assert {sent.body["n"] for sent in service.received if sent.path == "/generate"} == {12}


def test_class_names_that_files_can_not_tell_apart(service, dataset, tmp_path):
    service.class_names = ["a b", "A-B", "..", "../x"]
    assert dataset("--out", "d", "--n", "4", "--seed", "0", cwd=tmp_path)[0] == 0
    folders = sorted(path.name for path in (tmp_path / "d").iterdir() if path.is_dir())
    assert folders == ["0-a-b", "1-A-B", "2", "3-x"]
    assert [path.name for path in tmp_path.iterdir()] == ["d"]


def test_npz(service, dataset, tmp_path):
    code, out, _ = dataset("--out", "d.npz", "--n", "10", "--labels", "7,2-4", "--seed", "5", "--json", cwd=tmp_path)
    record = json.loads(out)
    assert code == 0
    assert (record["drawn"], record["labels"], record["table"]) == (10, [7, 2, 3, 4], "d.labels.csv")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["d.labels.csv", "d.npz"]
    wanted = [7, 2, 3, 4, 7, 2, 3, 4, 7, 2]
    with np.load(tmp_path / "d.npz", allow_pickle=False) as arrays:
        assert arrays["seeds"].tolist() == list(range(5, 15))
        assert arrays["class_names"].tolist() == ["2", "3", "4", "7"]
        assert [int(arrays["class_names"][label]) for label in arrays["labels"]] == wanted
        for i, (image, label) in enumerate(zip(arrays["images"], wanted, strict=True)):
            with Image.open(io.BytesIO(service.png(5 + i, label))) as expected:
                assert (image == np.asarray(expected)[:, :, None]).all()
    assert [int(row["label"]) for row in table(tmp_path / "d.labels.csv")] == wanted


def test_webdataset(service, dataset, tmp_path):
    code, _, _ = dataset(
        "--out", "d", "--format", "webdataset", "--n", "25", "--shard-size", "10", "--seed", "0", cwd=tmp_path
    )
    assert code == 0
    assert sorted(path.name for path in (tmp_path / "d").iterdir()) == [
        "dataset.json", "labels.csv", "shard-000000.tar", "shard-000001.tar", "shard-000002.tar"
    ]  # fmt: skip
    rows = iter(table(tmp_path / "d" / "labels.csv"))
    for shard in range(3):
        name = f"shard-{shard:06d}.tar"
        with tarfile.open(tmp_path / "d" / name) as archive:
            members = archive.getmembers()
            assert {(member.mtime, member.uid, member.uname, member.mode) for member in members} == {(0, 0, "", 0o644)}
            for png, cls, about in zip(*[iter(members)] * 3, strict=True):
                row = next(rows)
                key, seed, label = row["key"], int(row["seed"]), int(row["label"])
                assert (row["shard"], key) == (name, f"{seed:09d}")
                assert [each.name for each in (png, cls, about)] == [f"{key}.png", f"{key}.cls", f"{key}.json"]
                assert archive.extractfile(png).read() == service.png(seed, label)
                assert archive.extractfile(cls).read() == str(label).encode()
                expected = {"seed": seed, "label": label, "label_name": str(label)}
                assert json.load(archive.extractfile(about)) == expected
    assert next(rows, None) is None


def test_unconditional(service, dataset, tmp_path):
    service.class_names = None
    assert dataset("--out", "d", "--n", "3", "--seed", "1", cwd=tmp_path)[0] == 0
    assert [(row["file"], row["label"]) for row in table(tmp_path / "d" / "labels.csv")] == [
        (f"00000000{i}_seed-{1 + i}.png", "") for i in range(3)
    ]
    for option in ("--labels", "--each"):
        more = ["--n", "9"] if option == "--labels" else []
        code, _, err = dataset("--out", "e", option, "3", *more, cwd=tmp_path)
        assert code == 2
        assert_one_line(err, f"{option.removeprefix('--')} is 3", "has no classes")
    assert not (tmp_path / "e").exists()


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


@pytest.mark.parametrize("name", ["digits.v2", "2026.01", "there.zip"])
def test_name_of_a_folder_may_have_a_dot(dataset, tmp_path, name):
    if name == "there.zip":
        (tmp_path / name).mkdir()
    assert dataset("--out", name, "--n", "2", cwd=tmp_path)[0] == 0
    assert len(table(tmp_path / name / "labels.csv")) == 2


def test_a_refused_request_leaves_nothing(service, dataset, tmp_path):
    for options, code, words in (
        (["--n", "5", "--labels", "horse"], 2, "label 'horse' is not a class of 'acgan': give 0 to 9"),
        (["--n", "5", "--labels", "1,1"], 2, "give each class once"),
        (["--n", "5", "--model", "x"], 2, "model is 'x': the service has acgan"),
        (["--n", "5", "--model", "ACGAM"], 2, "model is 'ACGAM': did you mean 'acgan'? The service has acgan"),
        (["--n", "5", "--each", "2"], 2, "n is '5' and each is '2'"),
        ([], 2, "n is not given"),
        (["--n", "0"], 2, "n is 0"),
        (["--n", "5", "--format", "tfrecord"], 2, "format is 'tfrecord': give folder, npz, webdataset"),
        (["--n", "5", "--format", "npz"], 2, "a name ending in .npz is for npz only"),
        (["--n", "5", "--shard-size", "5"], 2, "shard-size is 5"),
        (["--n", "5", "--out", "x.zip"], 2, "out is 'x.zip': a data set is a folder"),
        (["--n", "5", "--out", "x.tar.gz", "--format", "webdataset"], 2, "or a file FILE.npz"),
        (["--n", "5", "--out", "x.npy"], 2, "out is 'x.npy'"),
        (
            ["--n", "5", "--out", "/proc/x"],
            1,
            "can't write to /proc/x: No such file or directory; give another --out\n",
        ),
    ):
        done = dataset("--out", "d", *options, cwd=tmp_path)
        assert done[0] == code
        assert_one_line(done[2], words)
    service.api_key = "secret"
    code, _, err = dataset("--out", "d", "--n", "5", cwd=tmp_path)
    assert code == 1
    assert_one_line(err, "API key", "GAN_API_KEY")
    assert list(tmp_path.iterdir()) == []


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


@pytest.mark.parametrize("force", [[], ["--force"]])
def test_a_folder_where_an_npz_is_to_be_is_refused_before_anything_is_drawn(service, dataset, tmp_path, force):
    (tmp_path / "x.npz").mkdir()
    code, _, said = dataset("--out", "x.npz", "--n", 20, *force, cwd=tmp_path)
    assert (code, said) == (1, "gan-client: x.npz is a folder: give another --out for an npz file\n")
    assert not [sent for sent in service.received if sent.path == "/generate"]


@pytest.mark.parametrize("layout", ["npz", "webdataset"])
def test_a_full_disk_is_one_line_and_the_run_goes_on(service, dataset, tmp_path, layout):
    out = "d.npz" if layout == "npz" else "d"
    ask = ["--out", out, "--format", layout, "--n", "3000", "--seed", "3"]
    # No file may grow beyond this: what the kernel says then is told like a full disk.
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))  # noqa: E731
    process = start(service, *ask, cwd=tmp_path, preexec_fn=limit)
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


def test_memory_does_not_grow_with_the_number_of_images(service, tmp_path):
    def peak(n):
        process = start(service, "--out", f"{n}.npz", "--n", n, "--quiet", cwd=tmp_path)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        process.communicate()
        assert process.returncode == 0
        return usage.ru_maxrss  # KiB

    assert peak(12_000) - peak(2_500) < 4096


def test_lines_say_how_quick_and_how_long(capsys):
    times = iter([0.0, 4.0, 10.0, 15.0, 3000.0, 3001.0])
    lines = ProgressLines(100_000, lambda: next(times))
    for done in (500, 900, 5500, 6000, 95_000, 100_000):
        lines(done)
    assert capsys.readouterr().err.splitlines() == [
        "5,500 of 100,000 images, 500 images/s, 0:03:09 left",
        "95,000 of 100,000 images, 30 images/s, 0:02:47 left",
        "100,000 of 100,000 images, 5,000 images/s, 0:00:00 left",
    ]
    quick = ProgressLines(10, lambda: 0.0)
    for done in itertools.chain(range(11), [10]):
        quick(done)
    assert capsys.readouterr().err == ""
