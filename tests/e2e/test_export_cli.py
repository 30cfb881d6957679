"""gan-export as a process: what it writes, what it prints, and one line for everything that can be wrong."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import PYTHON, run_forked
from PIL import Image
from waiting import until

from gan_export.artifact import load_artifact, open_session, run_session
from gan_export.artifact.certificate import Certificate
from gan_export.cli.export import main
from gan_training.checkpoint import load_checkpoint
from gan_training.config import TrainConfig
from gan_training.runs.run import Run

pytestmark = pytest.mark.slow

CLASSES = 24
FILES = ["README.md", "certificate.json", "generator.onnx", "golden.npz", "manifest.json", "preview.png"]
SECONDS = 300
TOLERANCE = 1e-4  # of pixels on [-1, 1]

RunFn = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ACGAN of 24 named classes in RGB, trained for a moment: `runs/birds of prey/ckpt.pt`."""
    torch.set_num_threads(1)
    work = tmp_path_factory.mktemp("train")
    rng = np.random.default_rng(0)
    np.savez(
        work / "birds.npz",
        images=rng.integers(0, 256, (96, 16, 16, 3), np.uint8),
        labels=np.arange(96) % CLASSES,
        class_names=np.array([f"bird {i}" for i in range(CLASSES)]),
    )
    config = TrainConfig.for_type(
        "acgan",
        f"npz:{work / 'birds.npz'}",
        steps=30,
        batch_size=16,
        latent_dim=16,
        generator_width=8,
        critic_width=8,
        embed_dim=8,
        generator_lr=5e-3,
        ema_decay=0.9,
        device="cpu",
        precision="fp32",
    )
    return Run.fresh(config, work / "runs" / "birds of prey").train(lambda _: None)


@pytest.fixture(scope="session")
def gan_export() -> RunFn:
    def run(cwd: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
        return run_forked("gan-export", [*map(str, arguments)], cwd, os.environ)

    return run


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory, checkpoint: Path, gan_export: RunFn) -> Path:
    """What a bare `gan-export CKPT` leaves in an empty folder; the folder."""
    work = tmp_path_factory.mktemp("work")
    done = gan_export(work, checkpoint)
    assert done.returncode == 0, done.stderr
    (work / "stdout.txt").write_text(done.stdout)
    return work


def everything_in(folder: Path) -> dict[str, bytes]:
    """Files with their contents, and folders."""
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b"" for path in folder.rglob("*")}


def test_by_default_the_artifact_is_named_after_the_run(exported: Path, checkpoint: Path):
    assert sorted(path.name for path in (exported / "models").iterdir()) == ["birds-of-prey"]
    artifact = load_artifact(exported / "models" / "birds-of-prey")
    assert sorted(path.name for path in artifact.directory.iterdir()) == FILES
    manifest = artifact.manifest
    assert manifest.name == "birds-of-prey"
    assert manifest.class_names == [f"bird {i}" for i in range(CLASSES)]
    assert (manifest.provenance.weights, manifest.provenance.training["steps"]) == ("ema", 30)
    assert manifest.provenance.training["data"] == "npz"  # and not where on this machine it was
    assert str(checkpoint.parent).encode() not in b"".join(everything_in(artifact.directory).values())
    certificate = Certificate.model_validate_json((artifact.directory / "certificate.json").read_text())
    assert certificate.failures == []
    with Image.open(artifact.directory / "preview.png") as preview:
        assert (preview.mode, preview.size) == ("RGB", (8 * 18 + 2, CLASSES * 18 + 2))
        assert np.asarray(preview)[3:-3, 3:-3].std() > 5  # not blank


def test_what_is_printed(exported: Path):
    text = (exported / "stdout.txt").read_text()
    for gate in ("tolerance", "batch_invariant", "labels_matter"):
        assert gate in text
    assert "FAILED" not in text
    assert "images differ from eager PyTorch on the CPU, eval mode by at most" in text
    last = "models/birds-of-prey; next: GAN_MODELS=models/birds-of-prey bentoml serve gan_serving.service:GanService"
    assert text.strip().splitlines()[-1] == last
    assert "\x1b" not in text


def test_the_images_are_those_of_the_checkpoint(exported: Path, checkpoint: Path):
    session = open_session(load_artifact(exported / "models" / "birds-of-prey"))
    net = load_checkpoint(checkpoint).generator("ema")
    z, label = torch.randn(CLASSES, 16, generator=torch.Generator().manual_seed(3)), torch.arange(CLASSES)
    _, pixels = run_session(session, z.numpy(), label.numpy(), pixels=True)
    with torch.no_grad():
        assert np.abs(pixels - net(z, label).numpy()).max() <= TOLERANCE


def test_options(tmp_path: Path, checkpoint: Path, gan_export: RunFn):
    """Another name, folder, weights and class names; JSON alone on stdout; and then replaced with --force alone."""
    names = tmp_path / "names.txt"
    lines = ["Adler", "Bussard, groß", *(f"Vogel {i}" for i in range(2, CLASSES))]
    names.write_text("\ufeff" + "\n".join(lines) + "\n\n")  # with a byte order mark, as some editors leave it
    options = (checkpoint, "--name", "V2.x", "--out", "deep/down/v2", "--json")
    done = gan_export(tmp_path, *options, "--weights", "raw", "--class-names", names)
    assert (done.returncode, done.stderr) == (0, "")
    certificate = Certificate.model_validate(json.loads(done.stdout))
    artifact = load_artifact(tmp_path / "deep" / "down" / "v2")
    assert Certificate.model_validate_json((artifact.directory / "certificate.json").read_text()) == certificate
    assert artifact.name == "V2.x"
    assert artifact.manifest.provenance.weights == "raw"
    assert (artifact.manifest.class_names or [])[:3] == ["Adler", "Bussard, groß", "Vogel 2"]
    assert not (tmp_path / "models").exists()

    before = everything_in(tmp_path)
    again = gan_export(tmp_path, *options)
    assert again.returncode == 1
    assert again.stderr.count("\n") == 1
    assert again.stderr.startswith("gan-export: deep/down/v2: exists already; give --force")
    assert (everything_in(tmp_path), again.stdout) == (before, "")
    unread = gan_export(tmp_path, "nowhere.pt", *options[1:])
    assert unread.stderr == again.stderr  # before anything is read

    forced = gan_export(tmp_path, *options, "--force")
    assert (forced.returncode, forced.stderr) == (0, "")
    replaced = load_artifact(artifact.directory)
    assert replaced.manifest.provenance.weights == "ema"
    assert [path.name for path in (tmp_path / "deep" / "down").iterdir()] == ["v2"]


FAILURES = {
    # arguments -> exit code, what the line must say
    "no argument": ([], 2, "Missing argument"),
    "unknown option": (["CKPT", "--nmae", "x"], 2, "--nmae"),
    "bad weights": (["CKPT", "--weights", "best"], 2, "'--weights': 'best' is not one of 'ema', 'raw' (see "),
    "bad tolerance": (["CKPT", "--tolerance", "-1"], 2, "greater than or equal to 0.000000001 (got '-1') (see "),
    "two wishes for the graph": (["CKPT", "--portable", "--for-gpu"], 2, "--portable keeps it as it is; give only one"),
    "bad name": (["CKPT", "--name", "../up"], 2, "'../up': use 1 to 64 letters"),
    "empty name": (["CKPT", "--name", ""], 2, "'': use 1 to 64 letters"),
    "missing file": (["nowhere.pt"], 1, "nowhere.pt: can't be read: No such file"),
    "folder": (["."], 1, ".: can't be read: Is a directory"),
    "not a checkpoint": (["other.pt"], 1, "other.pt: no state dict in the file, only: 'some'"),
    "truncated": (["cut.pt"], 1, "cut.pt: it is cut off or damaged"),
    "wrong number of class names": (["CKPT", "--class-names", "two.txt"], 1, "give one for each, on a line of its own"),
    "doubled class names": (["CKPT", "--class-names", "same.txt"], 1, "must differ from each other"),
    "no class names": (["CKPT", "--class-names", "nowhere.txt"], 1, "nowhere.txt: class names can't be read"),
    "class names in another encoding": (["CKPT", "--class-names", "latin.txt"], 1, "it is not UTF-8 text"),
    "no artifact": (["CKPT", "--out", "mine", "--force"], 1, "mine: exists and is not an artifact"),
    "name too long to read": (["n" * 300], 1, "can't be read: File name too long"),
    "name too long to write": (["CKPT", "--out", "n" * 300], 1, "can't write there: File name too long"),
    "unwritable": (["nowhere.pt", "--out", "other.pt/m"], 1, "other.pt is not a directory"),  # before it is read
    "a name of several lines": (["a\nb\x1b[31m.pt"], 1, "a\\nb\\x1b[31m.pt: can't be read: No such file"),
}


@pytest.fixture(scope="module")
def bad_inputs(tmp_path_factory: pytest.TempPathFactory, checkpoint: Path) -> Path:
    work = tmp_path_factory.mktemp("bad")
    torch.save({"some": torch.zeros(3)}, work / "other.pt")
    content = checkpoint.read_bytes()
    (work / "cut.pt").write_bytes(content[: len(content) // 2])
    (work / "two.txt").write_text("a\nb\n")
    (work / "same.txt").write_text("a\n" * CLASSES)
    (work / "latin.txt").write_bytes("größe\n".encode("latin-1"))
    (work / "mine").mkdir()
    (work / "mine" / "thesis.txt").write_text("mine")
    return work


@pytest.mark.parametrize("case", FAILURES)
def test_failures_are_one_line_and_write_nothing(
    case: str,
    bad_inputs: Path,
    checkpoint: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    """In this process, because there are many; `AS_PROCESS` below looks that the command is no different."""
    arguments, code, reason = FAILURES[case]
    before = everything_in(bad_inputs)
    monkeypatch.chdir(bad_inputs)
    with pytest.raises(SystemExit) as caught:
        main([str(checkpoint) if argument == "CKPT" else argument for argument in arguments])
    check_failure(int(caught.value.code or 0), *capsys.readouterr(), code, reason)
    assert everything_in(bad_inputs) == before


AS_PROCESS = ["unknown option", "bad name", "missing file", "truncated", "no artifact"]


@pytest.mark.parametrize("case", AS_PROCESS)
def test_failures_of_the_command(case: str, bad_inputs: Path, checkpoint: Path, gan_export: RunFn):
    arguments, code, reason = FAILURES[case]
    before = everything_in(bad_inputs)
    done = gan_export(bad_inputs, *(checkpoint if argument == "CKPT" else argument for argument in arguments))
    check_failure(done.returncode, done.stdout, done.stderr, code, reason)
    assert everything_in(bad_inputs) == before


def check_failure(exit_code: int, stdout: str, stderr: str, expected: int, reason: str) -> None:
    assert exit_code == expected
    assert stdout == ""
    assert stderr.count("\n") == 1, stderr
    assert stderr.startswith("gan-export: ")
    assert reason in stderr


def test_a_generator_that_fails_its_certificate(tmp_path: Path, checkpoint: Path, gan_export: RunFn):
    """A checkpoint whose generator no longer hears its labels: the gate is named, and there is no artifact."""
    content = torch.load(checkpoint, weights_only=True)
    for name in ("ema", "generator"):
        content["trainer"][name]["embed.weight"].zero_()
    torch.save(content, tmp_path / "deaf.pt")
    before = everything_in(tmp_path)
    done = gan_export(tmp_path, "deaf.pt")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    assert "failed the gate 'labels_matter'" in done.stderr
    assert "measured 23 images that equal another one" in done.stderr
    assert everything_in(tmp_path) == before


def test_sigterm_in_the_middle_leaves_nothing_behind(tmp_path: Path, checkpoint: Path):
    """As `timeout` and container engines stop a program: it alone gets the signal, not the process that it started."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    command = [Path(PYTHON).parent / "gan-export", checkpoint, "--out", "made/birds"]
    environment = os.environ | {"TMPDIR": str(temporary)}
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)
    # Where the process that reads the weights puts its part.
    until(lambda: any(temporary.glob("gan-export*")), "the weights are read", seconds=SECONDS, process=process)
    process.terminate()
    _, told = process.communicate(timeout=SECONDS)
    assert process.returncode == 130, told
    assert told.splitlines()[-1].startswith("gan-export: stopped")
    assert list(temporary.glob("gan-export*")) == []
    assert not (tmp_path / "made").exists() or list((tmp_path / "made").iterdir()) == []
