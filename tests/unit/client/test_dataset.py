"""`gan-client dataset`: what it writes, in which layout, and what it refuses."""

import io
import itertools
import json
import os
import tarfile
from collections import Counter

import numpy as np
import pytest
from data_sets import hashes, start, table
from one_line import assert_one_line
from PIL import Image

from gan_client.commands.progress import ProgressLines


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


def test_one_image(dataset, tmp_path):
    code, out, _ = dataset("--out", "d", "--n", "1", "--seed", "7", cwd=tmp_path)
    assert (code, out.partition(" (")[0]) == (0, "1 image of 'acgan', seed 7 -> d")


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


@pytest.mark.parametrize("force", [[], ["--force"]])
def test_a_folder_where_an_npz_is_to_be_is_refused_before_anything_is_drawn(service, dataset, tmp_path, force):
    (tmp_path / "x.npz").mkdir()
    code, _, said = dataset("--out", "x.npz", "--n", 20, *force, cwd=tmp_path)
    assert (code, said) == (1, "gan-client: x.npz is a folder: give another --out for an npz file\n")
    assert not [sent for sent in service.received if sent.path == "/generate"]


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
