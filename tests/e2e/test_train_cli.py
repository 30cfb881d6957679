"""gan-train as a user runs it: real processes on a labelled folder of 24 classes in RGB, with good and bad input."""

import contextlib
import errno
import json
import math
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import Forked, run_forked
from PIL import Image, ImageDraw

from gan_training.checkpoint import load_checkpoint

pytestmark = pytest.mark.slow

BIN = Path(sys.executable).parent
ENV = os.environ | {"OMP_NUM_THREADS": "1"}
CLASSES, PER_CLASS = 24, 3
WAIT_SECONDS = 120
FILES = ["ckpt.pt", "metrics.jsonl", "report.html", "samples"]  # of a run too short for an evaluation


def words(text: str) -> list[str]:
    return text.split()


TINY = words("--batch-size 6 --set generator_width=6 --set critic_width=6 --set latent_dim=6 --set log_every=1")
ACGAN = ["--type", "acgan", "--image-size", 28, *TINY]


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of noisy pictures, a coloured shape on each; a subfolder per class, no size that a net makes."""
    root, rng = tmp_path_factory.mktemp("data") / "shapes", np.random.default_rng(0)
    for label in range(CLASSES):
        folder = root / f"shape {label}"
        folder.mkdir(parents=True)
        for i in range(PER_CLASS):
            picture = Image.fromarray(rng.integers(0, 90, (40, 36, 3)).astype(np.uint8))
            draw = ImageDraw.Draw(picture)
            box = (4 + i, 4, 16 + label % 6 * 3, 20 + label // 6 * 5)
            paint = draw.ellipse if label % 2 else draw.rectangle
            paint(box, fill=(label * 37 % 256, label * 91 % 256, 255 - label * 10))
            picture.save(folder / f"{i}.{'jpg' if i else 'png'}")
    return root


def gan_train(cwd: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    return run_forked("gan-train", [*map(str, arguments)], cwd, ENV, WAIT_SECONDS)


@pytest.fixture(scope="module")
def trained(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two steps; tests copy it."""
    root = tmp_path_factory.mktemp("trained")
    done = gan_train(root, *ACGAN, "--data", f"folder:{shapes}", "--out", "an out", "--steps", 2)
    assert done.returncode == 0, done.stderr
    command = done.stdout.strip().partition("; next: ")[2]
    assert shlex.split(command) == ["gan-export", "an out/ckpt.pt"]
    return root / "an out"


def last_line(done: subprocess.CompletedProcess[str]) -> str:
    assert "Traceback" not in done.stderr
    return done.stderr.splitlines()[-1]


def metrics(out: Path) -> list[dict[str, float]]:
    def refuse(name: str) -> float:
        raise ValueError(f"{name} is no JSON")

    lines = (out / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line, parse_constant=refuse) for line in lines]


def assert_same_state(one: Path, other: Path) -> None:
    """Both checkpoints hold the same weights, optimiser states and data order, to the bit."""
    a, b = load_checkpoint(one / "ckpt.pt"), load_checkpoint(other / "ckpt.pt")
    assert a.step == b.step
    assert a.batches == b.batches
    for net in ("generator", "critic", "ema"):
        assert all(torch.equal(value, b.trainer[net][name]) for name, value in a.trainer[net].items())
    for optimizer in ("generator_optimizer", "critic_optimizer"):
        for i, state in a.trainer[optimizer]["state"].items():
            assert all(torch.equal(value, b.trainer[optimizer]["state"][i][name]) for name, value in state.items())


@pytest.mark.parametrize(
    ("gan_type", "size", "options", "losses"),
    [
        ("dcgan", 32, "", {"critic_loss", "generator_loss", "real_accuracy", "fake_accuracy"}),
        ("cgan", 64, "--upsample nearest", {"critic_loss", "generator_loss"}),
        ("acgan", 28, "", {"real_class_accuracy", "fake_class_loss", "generator_class_loss"}),
        ("wgan", 32, "--lipschitz clip --n-critic 2", {"real_score", "fake_score"}),
        ("wgan", 28, "--conditional --latent uniform", {"gradient_penalty"}),
    ],
)
def test_each_type_trains_on_24_classes_in_rgb(shapes, tmp_path, gan_type, size, options, losses):
    conditional = gan_type in ("cgan", "acgan") or "--conditional" in options
    arguments = ["--type", gan_type, "--data", f"folder:{shapes}", "--image-size", size, "--out", "out", "--steps", 4]
    done = gan_train(tmp_path, *arguments, *words(options), *TINY, "--sample-every", 2)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("out/ckpt.pt (step 4, ")
    assert f"72 images, {size}x{size}, RGB, {'24 classes' if conditional else 'no labels'}" in done.stderr
    checkpoint = load_checkpoint(tmp_path / "out/ckpt.pt")
    assert (checkpoint.step, checkpoint.config.type) == (4, gan_type)
    assert checkpoint.class_names == (tuple(f"shape {i}" for i in range(CLASSES)) if conditional else ())
    lines = metrics(tmp_path / "out")
    assert [line["step"] for line in lines] == [1, 2, 3, 4]
    assert losses | {"seconds", "images_per_second"} <= lines[-1].keys()
    assert all(math.isfinite(value) for line in lines for value in line.values())
    pictures = sorted((tmp_path / "out/samples").iterdir())
    assert [path.name for path in pictures] == ["step_0000002.png", "step_0000004.png"]
    for path in pictures:
        with Image.open(path) as picture:
            rows = CLASSES if conditional else 8
            assert (picture.format, picture.mode) == ("PNG", "RGB")
            assert picture.size == (8 * (size + 2) + 2, rows * (size + 2) + 2)
            pixels = np.asarray(picture)
        assert (pixels[:2] == 255).all()  # margin
        assert (pixels[2 : 2 + size, 2 : 2 + size] < 255).all()
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == FILES


def write_idx(folder: Path) -> str:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (30, 28, 28)).astype(np.uint8)
    header = bytes([0, 0, 8, 3]) + b"".join(size.to_bytes(4, "big") for size in images.shape)
    (folder / "train-images-idx3-ubyte").write_bytes(header + images.tobytes())
    labels = bytes([0, 0, 8, 1]) + (30).to_bytes(4, "big") + bytes(i % 3 for i in range(30))
    (folder / "train-labels-idx1-ubyte").write_bytes(labels)
    return f"idx:{folder}"


def write_npz(folder: Path) -> str:
    images = np.random.default_rng(0).integers(0, 256, (30, 32, 32, 3)).astype(np.uint8)
    np.savez(folder / "data.npz", images=images, labels=np.arange(30) % 3, class_names=np.array(["a", "b", "c"]))
    return f"npz:{folder / 'data.npz'}"


@pytest.mark.parametrize(
    ("source", "shape", "names"),
    [
        (write_idx, (28, 1), ("0", "1", "2")),
        (write_npz, (32, 3), ("a", "b", "c")),
        (lambda _: "digits", (28, 1), tuple("0123456789")),
    ],
    ids=["idx", "npz", "digits"],
)
def test_other_sources_train_too(tmp_path, source, shape, names):
    done = gan_train(tmp_path, "--type", "cgan", "--data", source(tmp_path), "--out", "out", "--steps", 2, *TINY)
    assert done.returncode == 0, done.stderr
    checkpoint = load_checkpoint(tmp_path / "out/ckpt.pt")
    assert (checkpoint.generator_spec.image_size, checkpoint.generator_spec.channels) == shape
    assert checkpoint.class_names == names


def test_a_dry_run_prints_the_settings_and_writes_nothing(shapes, tmp_path):
    arguments = ["--type", "wgan", "--data", f"folder:{shapes}", "--n-critic", 3, "--set", "drift=0.5", "--dry-run"]
    done = gan_train(tmp_path, *arguments)
    assert done.returncode == 0, done.stderr
    settings = dict(line.split(" = ") for line in done.stdout.splitlines())
    assert (settings["type"], settings["n_critic"], settings["drift"]) == ("wgan", "3", "0.5")
    assert "conditioned_by" in settings
    assert "r1_gamma" not in settings, "which wgan doesn't have"
    assert "wgan on folder:" in done.stderr
    assert re.search(r"^classes \(images\): [^(]+ \(\d+\), ", done.stderr, re.MULTILINE)
    assert list(tmp_path.iterdir()) == []


def test_a_name_is_neither_markup_nor_emoji_on_a_terminal(shapes, tmp_path):
    data = shutil.copytree(shapes, tmp_path / "d[" / "b]:one:")
    arguments = ["--type", "dcgan", "--data", f"folder:{data}", "--dry-run"]
    done = run_forked("gan-train", arguments, tmp_path, ENV | {"FORCE_COLOR": "1"}, WAIT_SECONDS)
    assert done.returncode == 0, done.stderr
    assert f"dcgan on folder:{data}: 72 images" in done.stderr


def test_resume_goes_on_and_an_existing_run_is_safe(shapes, trained, tmp_path):
    start = [*ACGAN, "--data", f"folder:{shapes}"]
    shutil.copytree(trained, tmp_path / "out")
    before = (tmp_path / "out/ckpt.pt").read_bytes()

    done = gan_train(tmp_path, *start, "--out", "out", "--steps", 2)
    assert done.returncode == 2
    assert done.stderr == "gan-train: out already holds ckpt.pt; give --resume, --force or another --out\n"

    other = ["--type", "cgan", "--seed", 5, "--set", "critic_lr=0.1", "--steps", 9]
    done = gan_train(tmp_path, "--resume", "--out", "out", *other)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    for change in ("type (was acgan, now cgan)", "seed (was 0, now 5)", "critic_lr (was ", ", now 0.1)"):
        assert change in done.stderr
    assert "steps" not in done.stderr
    assert (tmp_path / "out/ckpt.pt").read_bytes() == before

    done = gan_train(tmp_path, "--resume", "--out", "out", "--steps", 5, "--type", "acgan")
    assert done.returncode == 0, done.stderr
    assert [line["step"] for line in metrics(tmp_path / "out")] == [1, 2, 3, 4, 5]
    assert gan_train(tmp_path, *start, "--out", "straight", "--steps", 5).returncode == 0
    assert_same_state(tmp_path / "out", tmp_path / "straight")

    assert gan_train(tmp_path, *start, "--out", "out", "--steps", 1, "--force").returncode == 0
    assert load_checkpoint(tmp_path / "out/ckpt.pt").step == 1


@pytest.fixture
def start_training() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start gan-train in the background; what still runs at the end of the test is killed."""
    started: list[subprocess.Popen[str]] = []
    # A child inherits an ignored SIGINT, as of a test run in the background of a script; a handler becomes the default.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)

    def start(cwd: Path, *arguments: object) -> subprocess.Popen[str]:
        command = [BIN / "gan-train", *map(str, arguments)]
        process = subprocess.Popen(command, cwd=cwd, env=ENV, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        started.append(process)
        return process

    yield start
    signal.signal(signal.SIGINT, before)
    for process in started:
        process.kill()
        process.communicate()


def test_ctrl_c_and_sigterm_exit_with_130_and_resuming_is_never_stopping(
    shapes, tmp_path, start_training, wait_for_step
):
    common = ["--type", "wgan", "--data", f"folder:{shapes}", "--image-size", 28, *TINY]
    stopped, straight = tmp_path / "stopped", tmp_path / "straight"
    step = 0
    begin = [*common, "--steps", 100_000_000, "--checkpoint-every", 100_000_000]
    for options, number in ((begin, signal.SIGINT), (["--resume"], signal.SIGTERM)):
        process = start_training(tmp_path, *options, "--out", "stopped")
        wait_for_step(process, stopped, step + 3)
        process.send_signal(number)
        _, errors = process.communicate(timeout=WAIT_SECONDS)
        assert process.returncode == 130
        assert "Traceback" not in errors
        checkpoint = load_checkpoint(stopped / "ckpt.pt")
        assert checkpoint.step >= step + 3
        step = checkpoint.step
        assert errors.splitlines()[-1] == (
            f"gan-train: stopped at step {step:,}; saved in stopped/ckpt.pt; continue with --resume"
        )
        assert metrics(stopped)[-1]["step"] == step
    done = gan_train(tmp_path, "--resume", "--out", "stopped", "--steps", step + 2)
    assert done.returncode == 0, done.stderr
    assert gan_train(tmp_path, *common, "--out", "straight", "--steps", step + 2).returncode == 0
    assert_same_state(stopped, straight)


def test_kill_leaves_a_checkpoint_that_resumes(shapes, tmp_path, wait_for_step):
    out, step = tmp_path / "out", 0
    first = ["--type", "dcgan", "--data", f"folder:{shapes}", "--image-size", 28, *TINY, "--steps", 100_000_000]
    for options in ([*first, "--checkpoint-every", 1], ["--resume"], ["--resume"]):
        process = Forked("gan-train", [*options, "--out", "out"], cwd=tmp_path, env=ENV)
        with contextlib.closing(process):
            wait_for_step(process, out, step + 4)
            process.kill()
            assert process.wait(WAIT_SECONDS) == -signal.SIGKILL
        checkpoint = load_checkpoint(out / "ckpt.pt")
        assert checkpoint.step >= step + 3
        step = checkpoint.step
    done = gan_train(tmp_path, "--resume", "--out", "out", "--steps", step + 1)
    assert done.returncode == 0, done.stderr
    assert [line["step"] for line in metrics(out)] == list(range(1, step + 2))
    assert sorted(path.name for path in out.iterdir()) == FILES


def test_a_diverging_run_ends_with_one_line_and_keeps_the_last_good_checkpoint(shapes, tmp_path):
    wild = words("generator_lr=1 critic_lr=1 gp_weight=1e-30 critic_slope=1 beta1=0.9 generator_width=4 critic_width=8")
    settings = [word for assignment in wild for word in ("--set", assignment)]
    start = ["--type", "wgan", "--data", f"folder:{shapes}", "--image-size", 64, "--batch-size", 2, "--n-critic", 5]
    often = ["--checkpoint-every", 5, "--sample-every", 10_000, "--set", "log_every=5", "--precision", "fp32"]
    done = gan_train(tmp_path, *start, *settings, *often, "--steps", 5000, "--out", "out")
    assert done.returncode == 1
    line = last_line(done)
    assert line.startswith("gan-train: ")
    assert ": training has diverged; out/ckpt.pt holds the last good state; try a lower learning rate" in line
    checkpoint = load_checkpoint(tmp_path / "out/ckpt.pt")
    assert 5 <= checkpoint.step < 5000
    for net in ("generator", "critic", "ema"):
        assert all(value.isfinite().all() for value in checkpoint.trainer[net].values())
    assert all(math.isfinite(value) for line in metrics(tmp_path / "out") for value in line.values())


@pytest.mark.parametrize(
    ("blocks", "what"),  # of 512 bytes: not even the metrics fit; all but the checkpoint fits
    [(1, "out: can't write there"), (40, "out/ckpt.pt: can't be written")],
)
def test_a_full_disk_ends_with_one_line_and_keeps_the_checkpoint(trained, tmp_path, blocks, what):
    shutil.copytree(trained, tmp_path / "out")
    before = (tmp_path / "out/ckpt.pt").read_bytes()
    limited = ["sh", "-c", f'ulimit -f {blocks} && exec "$@"', "sh", sys.executable, "-B", str(BIN / "gan-train")]
    command = [*limited, "--resume", "--out", "out", "--steps", "20"]
    done = subprocess.run(
        command, cwd=tmp_path, env=ENV, capture_output=True, text=True, timeout=WAIT_SECONDS, check=False
    )
    assert done.returncode == 1
    assert last_line(done) == f"gan-train: {what}: {os.strerror(errno.EFBIG)}"
    assert (tmp_path / "out/ckpt.pt").read_bytes() == before


def test_a_file_in_the_place_of_the_run_is_refused(shapes, tmp_path):
    (tmp_path / "out").write_text("in the way\n")
    done = gan_train(tmp_path, "--type", "dcgan", "--data", f"folder:{shapes}", "--out", "out", *TINY)
    assert done.returncode == 2
    assert last_line(done).startswith("gan-train: out is a file, and --out is a folder")
    assert (tmp_path / "out").read_text() == "in the way\n"
