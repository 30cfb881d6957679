"""What `gan-client sample` asks for, and which files it leaves, without a process for each run."""

import io
import json
import os
import resource
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from one_line import assert_one_line
from PIL import Image

from gan_client import program
from gan_client.files import is_stream


@pytest.fixture
def gan_client(service, tmp_path, capsys, monkeypatch):
    """Run to the end: exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        code = program.run([*map(str, arguments), "--url", service.url])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_same_command_twice_keeps_what_is_there(gan_client, tmp_path):
    kept = set()
    for _ in range(2):
        code, out, _ = gan_client("sample", "--n", 2, "--seed", 5, "--label", 3)
        assert (code, "(sheet: samples/sheet.png)" in out) == (0, True)
        kept.add(tuple((path.name, path.stat().st_ino) for path in sorted((tmp_path / "samples").iterdir())))
    assert len(kept) == 1, "a file with the same content was written anew"
    code, out, _ = gan_client("sample", "--n", 2, "--seed", 7, "--label", 3)
    assert (code, "(sheet: samples/sheet-2.png)" in out) == (0, True)
    assert names(tmp_path / "samples") == [
        "0000_seed-5_label-3.png", "0000_seed-7_label-3.png", "0001_seed-6_label-3.png", "0001_seed-8_label-3.png",
        "sheet-2.png", "sheet.png",
    ]  # fmt: skip


def test_files_with_other_content_need_force(gan_client, tmp_path):
    assert gan_client("sample", "--n", 2, "--seed", 5, "--label", 3)[0] == 0
    first, second = sorted((tmp_path / "samples").glob("000*"))
    whole = first.read_bytes()
    first.write_bytes(b"mine")
    second.unlink()
    code, _, err = gan_client("sample", "--n", 2, "--seed", 5, "--label", 3)
    assert code == 1
    assert_one_line(err, f"samples/{first.name} exists with different content", "--force", "--out")
    assert (first.read_bytes(), second.exists()) == (b"mine", False)
    assert gan_client("sample", "--n", 2, "--seed", 5, "--label", 3, "--force")[0] == 0
    assert (first.read_bytes(), names(tmp_path / "samples")) == (whole, [first.name, second.name, "sheet.png"])


def test_full_disk_is_one_line_and_leaves_nothing(service, tmp_path):
    # No file may grow beyond this, Python's bytecode neither: what the kernel says is told like a full disk.
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (50, 50))  # noqa: E731
    done = subprocess.run(
        [sys.executable, "-B", "-m", "gan_client", "sample", "--n", "3", "--url", service.url],
        cwd=tmp_path, preexec_fn=limit, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1
    assert_one_line(done.stderr, "can't write to samples: File too large", "--out")
    assert names(tmp_path / "samples") == []


def repeated(picture, scale):
    """Each pixel of a picture `scale` pixels wide and high."""
    return np.asarray(picture).repeat(scale, axis=0).repeat(scale, axis=1)


@pytest.mark.parametrize("channels", [1, 3])
def test_scale_repeats_every_pixel(service, gan_client, tmp_path, channels):
    service.channels = channels
    ask = ("sample", "--n", 3, "--seed", 5)
    assert gan_client(*ask)[0] == 0
    assert gan_client(*ask, "--scale", 3, "--out", "large")[0] == 0
    assert gan_client(*ask, "--scale", 3, "--out", "sheet.webp")[0] == 0
    assert gan_client(*ask, "--scale", 3, "--grid", "grid.png")[0] == 0
    assert names(tmp_path / "large") == names(tmp_path / "samples")
    for name in names(tmp_path / "large"):
        with Image.open(tmp_path / "samples" / name) as small, Image.open(tmp_path / "large" / name) as large:
            assert np.array_equal(np.asarray(large), repeated(small, 3))
    with Image.open(tmp_path / "large" / "sheet.png") as sheet, Image.open(tmp_path / "sheet.webp") as of_file:
        assert np.array_equal(np.asarray(of_file.convert(sheet.mode)), np.asarray(sheet))
    assert (tmp_path / "grid.png").read_bytes() == (tmp_path / "large" / "sheet.png").read_bytes()


def test_scale_1_leaves_every_byte(gan_client, tmp_path):
    assert gan_client("sample", "--n", 3, "--seed", 5)[0] == 0
    assert gan_client("sample", "--n", 3, "--seed", 5, "--scale", 1, "--out", "b")[0] == 0
    contents = [{path.name: path.read_bytes() for path in (tmp_path / folder).iterdir()} for folder in ("samples", "b")]
    assert contents[0] == contents[1]


def test_too_large_a_picture_is_one_line(gan_client, tmp_path):
    code, _, err = gan_client("sample", "--n", 80, "--scale", 60, "--columns", 80, "--grid", "x.webp")
    assert code == 2
    assert_one_line(err, "the sheet has 28920 x 600 pixels, too many for webp", "use png")
    code, _, err = gan_client("sample", "--n", 10_000, "--scale", 64, "--grid", "x.png")
    assert code == 2
    assert_one_line(err, "scale is 64: a picture of", "use a smaller scale")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_service_is_one_line_after_the_retries(gan_client, service, tmp_path, status):
    service.script.extend([service.busy(status)] * 2)
    code, out, err = gan_client("sample", "--retries", "1")
    assert (code, out, len(service.received)) == (1, "", 2)
    assert_one_line(err, f"busy with {status}", "Ask again later")
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("options", "labels", "seeds"),
    [
        (["--labels", "3,1", "--seed", "0"], [3, 1], [0, 1]),
        (["--labels", "0-2", "--n", "5", "--seed", "0"], [0, 1, 2, 0, 1], [0, 1, 2, 3, 4]),
        (["--labels", "5,2", "--each", "2", "--seed", "0"], [5, 5, 2, 2], [0, 1, 2, 3]),
        (["--label", "5", "--each", "2", "--seed", "0"], [5, 5], [0, 1]),
        (["--each", "1", "--seed", "0"], list(range(10)), list(range(10))),
        (["--seeds", "9,4-6", "--label", "1"], [1] * 4, [9, 4, 5, 6]),
        (["--seeds", "9,4", "--labels", "0-9"], [0, 1], [9, 4]),
    ],
)
def test_which_images_are_asked_for(gan_client, options, labels, seeds):
    code, out, _ = gan_client("sample", "--json", *options)
    record = json.loads(out)
    assert (code, record["labels"], record["seeds"]) == (0, labels, seeds)


def test_each_class_has_a_row_of_the_sheet(gan_client, tmp_path):
    assert gan_client("sample", "--labels", "0-3", "--each", 5)[0] == 0
    with Image.open(tmp_path / "samples" / "sheet.png") as sheet:
        assert sheet.size == (5 * 4 + 6 * 2, 4 * 6 + 5 * 2)


@pytest.mark.parametrize("kind", ["npy", "rows", "row", "answer"])
def test_latents_from_a_file(gan_client, service, tmp_path, kind):
    rows = np.random.default_rng(0).normal(size=(1 if kind == "row" else 3, 64)).astype(np.float32)
    path = tmp_path / "z"
    if kind == "npy":
        with path.open("wb") as stream:
            np.save(stream, rows)
    else:
        content = {"rows": rows.tolist(), "row": rows[0].tolist()}
        content["answer"] = {"model": "acgan", "latents": rows.tolist(), "labels": [4, 5, 6]}
        path.write_text(json.dumps(content[kind]))
    code, out, _ = gan_client("sample", "--latents", "z", *([] if kind == "answer" else ["--label", "2"]))
    assert code == 0
    assert f"{len(rows)} image" in out
    assert "from latents -> samples/" in out
    sent = service.received[-1].body
    assert sent["latents"] == rows.astype(float).tolist()
    assert sent["label"] == ([4, 5, 6] if kind == "answer" else "2")
    assert sent.get("model") == ("acgan" if kind == "answer" else None)
    assert gan_client("sample", "--latents", "z", "--model", "other", "--force")[0] == 0
    assert service.received[-1].body["model"] == "other"


def test_latents_from_a_pipe(gan_client, service, tmp_path, monkeypatch):
    rows = json.dumps([[0.5, 1.5]])
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(rows.encode())))
    assert gan_client("sample", "--latents", "-", "--out", "a")[0] == 0
    assert service.received[-1].body["latents"] == [[0.5, 1.5]]
    code, _, err = gan_client("sample", "--latents", "-", "--out", "a")
    assert code == 2
    assert_one_line(err, "stdin contains no latents")  # it has been read already
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=(tmp_path / "pipe").write_text, args=[rows])
    writer.start()
    assert gan_client("sample", "--latents", "pipe", "--out", "b")[0] == 0
    writer.join()
    assert service.received[-1].body["latents"] == [[0.5, 1.5]]


@pytest.mark.parametrize("options", [[], ["--force"]])
def test_a_pipe_and_a_device_get_the_file_and_stay(gan_client, service, reply, tmp_path, options):
    image = service.png(1, None)
    sent = reply(200, image, {"Content-Type": "image/png"})
    os.mkfifo(tmp_path / "pipe.png")
    for place in ("pipe.png", "/dev/null"):
        service.script.append(sent)
        with ThreadPoolExecutor(1) as pool:
            read = pool.submit((tmp_path / "pipe.png").read_bytes) if place == "pipe.png" else None
            code, _, err = gan_client("sample", "--format", "png", "--out", place, *options)
        assert (code, err) == (0, "")
        assert read is None or read.result() == image
        assert is_stream(tmp_path / place)
    assert names(tmp_path) == ["pipe.png"]


def test_a_sheet_that_is_too_large_to_be_shown_is_saved(gan_client, service, reply, tmp_path):
    sheet = io.BytesIO()
    Image.new("1", (20_000, 10_000)).save(sheet, "PNG")
    service.script.append(reply(200, sheet.getvalue(), {"Content-Type": "image/png"}))
    code, out, err = gan_client("sample", "--n", "4", "--format", "png", "--out", "big.png", "--show", "blocks")
    assert (code, err) == (0, "")
    assert out.count("\n") == 1
    assert (tmp_path / "big.png").read_bytes() == sheet.getvalue()


@pytest.mark.parametrize("old", [b"old", None])
def test_what_a_link_leads_to_is_replaced(gan_client, service, reply, tmp_path, old):
    image, target, link = service.png(1, None), tmp_path / "below" / "target.png", tmp_path / "link.png"
    target.parent.mkdir()
    link.symlink_to(target)
    if old is not None:
        target.write_bytes(old)
        service.script.append(reply(200, image, {"Content-Type": "image/png"}))
        code, _, err = gan_client("sample", "--format", "png", "--out", "link.png")
        assert (code, target.read_bytes()) == (1, old)
        assert_one_line(err, "link.png exists with different content")
    service.script.append(reply(200, image, {"Content-Type": "image/png"}))
    assert gan_client("sample", "--format", "png", "--out", "link.png", *["--force"] * (old is not None))[0] == 0
    assert (link.is_symlink(), target.read_bytes(), names(target.parent)) == (True, image, ["target.png"])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--latents", "z", "--seed", "1"], "seed is '1' and latents is 'z'"),
        (["--latents", "absent"], "can't read absent: No such file"),
        (["--latents", "text"], "text contains no latents"),
        (["--latents", "pickle"], "pickle contains no latents"),
        (["--seeds", "1,x"], "seeds is '1,x'"),
        (["--seeds", "1-100001"], "seeds has over 100000 entries"),
        (["--seeds", "1", "--seed", "1"], "seed is '1' and seeds is '1'"),
        (["--each", "2", "--n", "4"], "n is '4' and each is '2'"),
        (["--format", "gif"], "format is 'gif': give one of png, webp, jpeg"),
        (["--format", "npy", "--out", "x.png"], "format is 'npy' and out is 'x.png'"),
        (["--format", "npy", "--scale", "2"], "scale is 2 and format is 'npy': only pictures are enlarged"),
        (["--out", "x.zip", "--scale", "1"], "scale is 1 and format is 'zip': only pictures are enlarged"),
        (["--scale", "65"], "scale is 65: it must be an integer from 1 to 64"),
        (["--out", "x.png", "--scale", "2", "--quality", "3"], "quality is 3: png has none"),
        (["--format", "npy", "--grid", "x.png"], "grid is 'x.png' and format is 'npy'"),
        (["--out", "x.bmp"], "out is 'x.bmp': a file's name must end in one of .png, .webp, .jpeg, .zip"),
        (["--out", "x.npz"], "out is 'x.npz': a file's name must end in one of"),
        (["--out", "x.tar"], "out is 'x.tar': a file's name must end in one of"),
        (["--out", "x.gif"], "out is 'x.gif': a file's name must end in one of"),
        (["--format", "npy", "--out", "x.npz"], "out is 'x.npz': a file's name must end in one of"),
        (["--format", "png", "--out", "x.tar"], "out is 'x.tar': a file's name must end in one of"),
        (["--latents", "model"], "model has a `model` that is not a generator's name"),
        (["--grid", "x.pdf"], "grid is 'x.pdf': its name must end in"),
        (["--quality", "50"], "quality is 50"),
        (["--show", "vga"], "show is 'vga': give kitty, iterm, sixel, blocks, none"),
        (["--out", "-", "--format", "png", "--json"], "out is '-' and json is given"),
        (["--out", "-"], "--out - is stdout, which takes one file: give its --format"),
        (["--out", "-", "--grid", "x.png"], "--out - is stdout, which takes one file: give its --format"),
        (["--latents", "few"], "few has 2 labels for 3 latents: give one for each"),
        (["--latents", "none"], "none has 0 labels for 1 latent:"),
        (["--latents", "huge"], "huge contains no latents"),
        (["--latents", "open"], "open contains no latents"),
        (["--latents", "endless"], "endless contains no latents (Unable to allocate"),
        (["--latents", "complex"], "complex contains no latents (Cannot cast"),
    ],
)
def test_wrong_options_are_named(gan_client, tmp_path, options, words):
    (tmp_path / "text").write_text("seven")
    (tmp_path / "model").write_text('{"latents": [[1]], "model": 7}')
    (tmp_path / "few").write_text('{"latents": [[1], [2], [3]], "labels": [1, 2]}')
    (tmp_path / "none").write_text('{"latents": [[1]], "labels": []}')
    (tmp_path / "huge").write_text(f"[[{10**400}]]")
    (tmp_path / "open").write_bytes(
        b"\x93NUMPY\x01\x00\x36\x00{'descr': ('<f8', 'fortran_order': False, 'shape': (1,2)" + b" " * 9
    )
    (tmp_path / "endless").write_bytes(
        b"\x93NUMPY\x01\x00\x46\x00{'descr': '<f8', 'fortran_order': False, 'shape': (10000000000000, 2)}".ljust(80)
    )
    with (tmp_path / "complex").open("wb") as stream:
        np.save(stream, np.ones((2, 64), complex))
    np.save(tmp_path / "pickle.npy", np.array([{}], object), allow_pickle=True)
    (tmp_path / "pickle.npy").rename(tmp_path / "pickle")
    code, out, err = gan_client("sample", *options)
    assert (code, out) == (2, "")
    assert_one_line(err, words)
    assert names(tmp_path) == ["complex", "endless", "few", "huge", "model", "none", "open", "pickle", "text"]


@pytest.mark.parametrize("name", ["sheet.png", "sheet.webp", "below/sheet.jpg"])
def test_grid_is_the_sheet_alone(gan_client, tmp_path, name):
    assert gan_client("sample", "--n", 4, "--seed", 1, "--out", "a")[0] == 0
    code, out, _ = gan_client("sample", "--n", 4, "--seed", 1, "--grid", name, "--json")
    record = json.loads(out)
    assert (code, record["files"], record["sheet"]) == (0, [], name)
    with Image.open(tmp_path / "a" / "sheet.png") as whole, Image.open(tmp_path / name) as sheet:
        assert sheet.size == whole.size
        if not name.endswith("jpg"):
            assert (np.asarray(sheet.convert("L")) == np.asarray(whole)).all()
    code, out, _ = gan_client("sample", "--n", 4, "--seed", 1, "--grid", "other.png", "--out", "b")
    assert (code, len(names(tmp_path / "b")), (tmp_path / "other.png").exists()) == (0, 4, True)
    for image in (tmp_path / "b").iterdir():
        image.write_bytes(b"other content")
    code, _, err = gan_client("sample", "--n", 4, "--seed", 1, "--grid", "third.png", "--out", "b")
    assert (code, (tmp_path / "third.png").exists()) == (1, False)
    assert_one_line(err, "exists with different content", "--out")
    code, _, err = gan_client("sample", "--n", 4, "--seed", 2, "--grid", name)
    assert code == 1
    assert_one_line(err, "exists with different content", "--grid")


@pytest.mark.parametrize("is_there", [False, True])
def test_a_slash_at_the_end_names_a_folder(gan_client, tmp_path, is_there):
    if is_there:
        for name in ("new", "x.png", "d.npz"):
            (tmp_path / name).mkdir()
    assert gan_client("sample", "--format", "png", "--scale", 2, "--seed", 5, "--out", "new/")[0] == 0
    assert gan_client("sample", "--seed", 5, "--label", 3, "--out", "x.png/")[0] == 0
    assert gan_client("dataset", "--n", 2, "--seed", 0, "--labels", 3, "--out", "d.npz/")[0] == 0
    assert names(tmp_path / "new") == ["seed-5.png"]
    assert names(tmp_path / "x.png") == ["0000_seed-5_label-3.png", "sheet.png"]
    assert "labels.csv" in names(tmp_path / "d.npz")


def test_a_slash_after_a_file_is_refused(gan_client, tmp_path):
    (tmp_path / "mine").write_bytes(b"mine")
    code, _, err = gan_client("sample", "--format", "png", "--out", "mine/")
    assert (code, err) == (1, "gan-client: can't write to mine/file: Not a directory; give another place with --out\n")
