"""What gan-train says to bad input: its exit code, one line on stderr, and nothing else anywhere."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with good data, and data of every bad kind."""
    root = tmp_path_factory.mktemp("bad")
    (root / "empty").mkdir()
    for name in ("shapes/round", "shapes/square", "classes/full", "classes/hollow"):
        (root / name).mkdir(parents=True)
        if "hollow" not in name:
            Image.new("RGB", (28, 28), "red").save(root / name / "1.png")
    (root / "flat").mkdir()
    for name in ("1.png", "2.png"):
        Image.new("RGB", (28, 28), "red").save(root / "flat" / name)
    noise = np.random.default_rng(0).integers(0, 256, (20, 28, 28)).astype(np.uint8)
    np.savez(root / "unlabelled.npz", images=noise)
    np.savez(root / "odd.npz", images=noise[:, :26, :26])
    (root / "text.npz").write_text("no arrays\n")
    (root / "file").write_text("in the way\n")
    (root / "notes").mkdir()
    (root / "notes/ckpt.pt").write_text("step 1000, loss 0.3\n")
    return root


BASE = "--type cgan --data folder:shapes --out out --steps 1"
BAD = [
    ("--type gan --data digits --out out", 2, "type 'gan' is unknown; use one of dcgan, cgan, acgan, wgan"),
    ("--data digits --out out", 2, "--type is missing"),
    ("--type CGAN --data digits --out out", 2, "type 'CGAN' is unknown; did you mean cgan? Use one of dcgan, cgan"),
    ("--type cgan --data digit --out out", 2, "unknown data source 'digit'; did you mean digits? The known forms"),
    ("--type cgan --data shapes --out out", 2, "source 'shapes'; it is a folder: write folder:shapes; the known"),
    ("--type cgan --data odd.npz --out out", 2, "source 'odd.npz'; it is a file of arrays: write npz:odd.npz; the"),
    ("--type cgan --data folder:flat --out out", 1, "use --type dcgan or wgan, or put each class into a subfolder"),
    (f"{BASE} --set tranlate=2", 2, "there is no such setting; did you mean translate? Known are auxiliary_weight,"),
    ("--preset cgan28 --data digits --out out", 2, "preset 'cgan28' is unknown; did you mean cgan-28? Use one of"),
    ("--type cgan --out out", 2, "--data is missing"),
    ("--type cgan --data cifar --out out", 2, "unknown data source 'cifar'"),
    ("--type cgan --data folder:nowhere --out out", 1, "nowhere doesn't exist"),
    ("--type cgan --data folder:file --out out", 1, "file is a file, and a folder is needed"),
    ("--type cgan --data folder:empty --out out", 1, "empty holds no image"),
    ("--type cgan --data folder:classes --out out", 1, "class 'hollow' has no image"),
    ("--type cgan --data npz:text.npz --out out", 1, "text.npz: not a readable npz file"),
    (
        "--type cgan --data npz:unlabelled.npz --out out",
        1,
        "has no labels, and cgan needs them; use --type dcgan or wgan",
    ),
    (
        "--type wgan --conditional --data npz:unlabelled.npz --out out",
        1,
        "has no labels, and wgan needs them; leave out --conditional",
    ),
    ("--type dcgan --conditional --data npz:unlabelled.npz --out out", 2, "conditional has no meaning for dcgan"),
    ("--type dcgan --data npz:odd.npz --out out", 1, "26 x 26 pixels"),
    (f"{BASE} --image-size 30", 2, "image_size is 30; it must be one of 16, 20, 24, 28, 32"),
    (f"{BASE} --channels 2", 2, "channels is 2; it must be 1 (grey) or 3 (RGB)"),
    (f"{BASE} --seed -1", 2, "seed is -1; it must be from 0"),
    ("--type cgan --data folder:shapes --out out --steps 0", 2, "steps is 0; it must be from 1"),
    (f"{BASE} --n-critic abc", 2, "'abc'"),
    (f"{BASE} --type wgan --n-critic 0", 2, "n_critic is 0; it must be from 1 to 100"),
    (f"{BASE} --type wgan --lipschitz none", 2, "lipschitz is 'none'; use one of clip, gp"),
    (f"{BASE} --unconditional", 2, "conditional has no meaning for cgan"),
    (f"{BASE} --lipschitz clip", 2, "lipschitz has no meaning for cgan; it is a setting of wgan"),
    (f"{BASE} --latent cauchy", 2, "latent is 'cauchy'; use one of normal, uniform"),
    (f"{BASE} --upsample bilinear", 2, "upsample is 'bilinear'; use one of transpose, nearest"),
    (f"{BASE} --device gpu", 2, "device 'gpu' is not a device; use auto, cpu, cuda or cuda:1"),
    (f"{BASE} --device meta", 2, "device 'meta' can't be used here"),
    (f"{BASE} --set steps=2", 2, "steps is given twice: --steps 1 and --set steps=2; choose one"),
    (f"{BASE} --force --out file", 2, "file is a file, and --out is a folder"),
    (f"{BASE} --out {'o' * 300}", 1, "can't be looked at: File name too long"),
    (f"--resume --out {'o' * 300}", 1, "ckpt.pt: can't be looked at: File name too long"),
    (f"{BASE} --set r1_gamma", 2, "--set 'r1_gamma' has no '='"),
    (f"{BASE} --set learning_rate=1", 2, "--set learning_rate: there is no such setting"),
    (f"{BASE} --set critic_lr=nan", 2, "critic_lr is nan; it must be from 0 to 1"),
    (f"{BASE} --bogus", 2, "--bogus"),
    (f"{BASE} stray", 2, "stray"),
    ("--preset cgan-29 --data digits --out out", 2, "preset 'cgan-29' is unknown; did you mean cgan-28? Use one of "),
    (f"--preset {'p' * 300} --data digits --out out", 2, "is unknown; use one of "),
    ("--preset none.toml --data digits --out out", 2, "none.toml: no such file"),
    ("--preset cgan-28 --type wgan --data digits --out out", 2, "--type is wgan, but preset cgan-28 is one for cgan"),
    (f"{BASE} --set watch_every=-1", 2, "watch_every is -1; it must be from 0"),
    ("--resume", 2, "--resume needs --out"),
    ("--resume --force --out notes", 2, "--resume goes on with a run and --force starts anew"),
    ("--resume --out nowhere", 1, "nowhere/ckpt.pt: no such file; there is no run to resume; drop --resume"),
    ("--resume --out notes", 1, "notes/ckpt.pt: is not a checkpoint"),
]


def tree(root: Path) -> dict[Path, int]:
    return {path: path.lstat().st_mtime_ns for path in root.rglob("*")}


FORKING = """
import json, os, sys
from gan_training.cli.train import main
for number, line in enumerate(json.load(sys.stdin)):
    streams = [open(f"{sys.argv[1]}/{number}.{name}", "w+b") for name in ("out", "err")]
    if os.fork() == 0:
        for target, stream in enumerate(streams, start=1):
            os.dup2(stream.fileno(), target)
        try:
            main(line.split())
        except SystemExit as error:
            sys.stdout.flush(), sys.stderr.flush()
            os._exit(error.code)  # taking torch down in order costs a second each time
    _, status = os.wait()
    texts = [stream.seek(0) or stream.read().decode() for stream in streams]
    print(json.dumps([os.waitstatus_to_exitcode(status), *texts]), flush=True)
"""
"""Runs each command line in a process of its own that starts with everything imported, which else takes seconds."""


@pytest.fixture(scope="module")
def refusals(workplace: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, subprocess.CompletedProcess[str]]:
    """How every bad command line ends; and that none of them wrote anything."""
    before, lines = tree(workplace), [line for line, _, _ in BAD]
    command = [sys.executable, "-c", FORKING, str(tmp_path_factory.mktemp("streams"))]
    done = subprocess.run(
        command, input=json.dumps(lines), cwd=workplace, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert tree(workplace) == before
    ends = map(json.loads, done.stdout.splitlines())
    return {line: subprocess.CompletedProcess(line, *end) for line, end in zip(lines, ends, strict=True)}


@pytest.mark.parametrize(("line", "code", "reason"), BAD, ids=[line for line, _, _ in BAD])
def test_bad_input_is_refused_in_one_line(refusals, line, code, reason):
    done = refusals[line]
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.startswith("gan-train: ")
    assert done.stderr.endswith("\n")
    assert done.stderr.count("\n") == 1
    assert reason in done.stderr
