"""`kill -9` at random moments, then `--resume`: to the bit the run that was never stopped; and same seed, same run.

Every run here saves after each step, so that kills fall into start-up, a step or the writing of a file. The moments are
drawn from SEED and scale with this machine's speed. After its kills a run is resumed until some steps further, and a
run of as many steps that nobody disturbed is the reference.

Most of such a process's cost is to start Python and import torch: five kills for every type and precision are made on
processes forked from one that has imported all (commands.py); kills that can hit interpreter and imports too are made
on the installed command.
"""

import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from commands import Forked

from gan_training.checkpoint import load_checkpoint
from gan_training.data import load_data

pytestmark = pytest.mark.slow

BIN = Path(sys.executable).parent
SEED = 20261122
KILLS = 5
STEPS_AFTER = 3  # what the last resume adds to the last checkpoint
ENDLESS = 100_000_000
WAIT_SECONDS = 120
TIMES = {"seconds", "images_per_second"}  # of a line of metrics.jsonl: no two runs share them
OFTEN = "--sample-every 7 --checkpoint-every 1 --set log_every=2 --set watch_every=11"
NETS = "--image-size 28 --batch-size 8 --set generator_width=8 --set critic_width=8 --set latent_dim=8"
TINY = f"{OFTEN} {NETS}".split()
TYPES = {
    "dcgan": "--type dcgan --set instance_noise=0.1 --set noisy_labels=0.1 --set translate=2",
    "cgan": "--type cgan --set critic_norm=spectral",
    "acgan": "--type acgan --set dropout=0.1 --set soft_labels=0.1",
    "wgan-gp": "--type wgan --n-critic 2",
    "wgan-clip": "--type wgan --n-critic 2 --lipschitz clip --conditional",
}
"""Each with settings that draw random numbers or keep state of their own, for these have to survive too."""


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """320 of the embedded digits as npz: read in no time, and an epoch ends after 40 batches."""
    path, data = tmp_path_factory.mktemp("data") / "digits.npz", load_data("digits")
    assert data.labels is not None
    chosen = np.random.default_rng(SEED).permutation(len(data))[:320]
    np.savez(path, images=data.images.permute(0, 2, 3, 1).numpy()[chosen], labels=data.labels.numpy()[chosen])
    return path


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Same thread count, same bits: for all processes started here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        yield


Start = Callable[[list[object]], Forked]


@pytest.fixture
def start_fork() -> Iterator[Start]:
    """Start gan-train with these arguments in a process of its own, which does not outlive the test."""
    started: list[Forked] = []

    def start(arguments: list[object]) -> Forked:
        started.append(Forked("gan-train", arguments))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def finish(process: Forked) -> None:
    assert process.wait(WAIT_SECONDS) == 0


def go_on_or_start(fresh: list[object], out: Path) -> list[object]:
    """What a user types after a kill: --resume; where there is nothing to resume yet, the first command again."""
    return ["--resume", "--out", out] if (out / "ckpt.pt").exists() else [*fresh, "--out", out, "--steps", ENDLESS]


def seconds_to_first_checkpoint(start: Start, fresh: list[object], out: Path) -> float:
    began = time.monotonic()
    process = start([*fresh, "--out", out, "--steps", ENDLESS])
    while not (out / "ckpt.pt").exists():
        assert process.poll() is None, "gan-train ended before its first checkpoint"
        assert time.monotonic() - began < WAIT_SECONDS, f"no checkpoint after {WAIT_SECONDS} s"
    process.kill()
    return time.monotonic() - began


def metrics(out: Path) -> list[dict[str, float]]:
    """The lines of metrics.jsonl without what no two runs share."""
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name not in TIMES} for line in lines]


def state(out: Path) -> dict[str, Any]:
    """All that a checkpoint holds but for times, as one flat dict."""
    checkpoint = load_checkpoint(out / "ckpt.pt")
    flat: dict[str, Any] = {}

    def flatten(value: Any, path: str) -> None:
        if isinstance(value, dict):
            for name, item in value.items():
                flatten(item, f"{path}.{name}")
        elif isinstance(value, list | tuple):
            flatten(dict(enumerate(value)), path)
        else:
            flat[path] = value

    for name in ("trainer", "batches", "config", "generator_spec", "critic_spec", "class_names"):
        part = getattr(checkpoint, name)
        flatten(part if isinstance(part, dict | tuple) else part.to_dict(), name)
    for line in checkpoint.history:
        flatten({name: value for name, value in line.items() if name not in TIMES}, f"history.{line['step']}")
    return flat


def same_bits(one: Any, other: Any) -> bool:
    if not isinstance(one, torch.Tensor):
        return type(one) is type(other) and one == other
    return (
        isinstance(other, torch.Tensor)
        and (one.dtype, one.shape, one.stride()) == (other.dtype, other.shape, other.stride())
        and one.numpy().tobytes() == other.numpy().tobytes()
    )


def differences(one: Path, other: Path) -> list[str]:
    """Names of all that is not the same to the bit in two runs' checkpoints, metrics and pictures."""
    a, b = state(one), state(other)
    found = sorted(a.keys() ^ b.keys())
    found += [name for name in a.keys() & b.keys() if not same_bits(a[name], b[name])]
    found += [] if metrics(one) == metrics(other) else ["metrics.jsonl"]
    pictures = [{path.name: path.read_bytes() for path in (out / "samples").iterdir()} for out in (one, other)]
    found += [] if pictures[0] == pictures[1] else ["samples"]
    names = [{str(path.relative_to(out)) for path in out.rglob("*")} for out in (one, other)]
    return found + sorted(names[0] ^ names[1])


def assert_as_if_never_stopped(killed: Path, straight: Path, moments: str) -> None:
    assert differences(killed, straight) == [], moments
    steps = [line["step"] for line in metrics(killed)]
    assert steps == list(range(1, int(steps[-1]) + 1)), moments  # log_every 2, and 1 for each checkpoint
    assert not list(killed.rglob("*.part")), moments
    names = {name.split(".")[1] for name in state(killed) if name.startswith("trainer.")}
    assert {"generator", "critic", "ema", "generator_optimizer", "critic_optimizer", "rng", "torch_rng"} <= names


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("variant", TYPES)
def test_five_kills_at_random_moments(digits, start_fork, tmp_path, variant, precision):
    fresh = [*TYPES[variant].split(), "--data", f"npz:{digits}", "--precision", precision, *TINY]
    killed, straight = tmp_path / "killed", tmp_path / "straight"
    unit = seconds_to_first_checkpoint(start_fork, fresh, tmp_path / "timed")
    moments, what = random.Random(f"{SEED} {variant} {precision}"), []
    for _ in range(KILLS):
        process = start_fork(go_on_or_start(fresh, killed))
        seconds = moments.uniform(0, 2 * unit)
        with pytest.raises(subprocess.TimeoutExpired):  # it would go on for ever
            process.wait(seconds)
        process.kill()
        assert process.wait() == -signal.SIGKILL, what
        step = load_checkpoint(killed / "ckpt.pt").step if (killed / "ckpt.pt").exists() else None
        what.append(
            f"kill after {seconds:.4f} s: checkpoint of step {step}, {[p.name for p in killed.rglob('*.part')]}"
        )
    print(*what, sep="\n")
    steps = (step or 0) + STEPS_AFTER
    finish(start_fork([*go_on_or_start(fresh, killed), "--steps", steps]))
    finish(start_fork([*fresh, "--out", straight, "--steps", steps]))
    assert_as_if_never_stopped(killed, straight, f"seed {SEED}: {what}")


@pytest.fixture
def start_command(tmp_path: Path) -> Iterator[Callable[[list[object]], subprocess.Popen[str]]]:
    """Start the installed gan-train in tmp_path."""
    started: list[subprocess.Popen[str]] = []

    def start(arguments: list[object]) -> subprocess.Popen[str]:
        command = [BIN / "gan-train", *map(str, arguments)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        started.append(subprocess.Popen(command, cwd=tmp_path, text=True, **pipes))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_the_command_killed_from_its_start_on_and_two_runs_with_one_seed(digits, start_command, start_fork, tmp_path):
    fresh = ["--type", "acgan", "--data", f"npz:{digits}", *TINY]
    killed, straight, again, other = (tmp_path / name for name in ("killed", "straight", "again", "other"))
    moments, what = random.Random(f"{SEED} command"), []

    def kill_after(seconds: float) -> None:
        process = start_command(go_on_or_start(fresh, killed))
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(seconds)
        process.kill()
        assert process.wait(WAIT_SECONDS) == -signal.SIGKILL
        what.append(
            f"kill after {seconds:.4f} s: {sorted(str(path.relative_to(killed)) for path in killed.rglob('*'))}"
        )

    kill_after(moments.uniform(0, 1))  # no processor imports torch, builds nets and saves them in a second
    began = time.monotonic()
    refused = start_command(["--resume", "--out", "killed"])
    output, errors = refused.communicate(timeout=WAIT_SECONDS)
    importing = time.monotonic() - began
    assert (refused.returncode, output, errors.count("\n")) == (1, "", 1), what
    assert errors.startswith("gan-train: killed/ckpt.pt: ")
    for _ in range(KILLS - 2):
        kill_after(moments.uniform(0, 3 * importing))
    print(*what, sep="\n")

    steps = (load_checkpoint(killed / "ckpt.pt").step if (killed / "ckpt.pt").exists() else 0) + STEPS_AFTER
    for arguments in (go_on_or_start(fresh, killed), [*fresh, "--out", straight]):
        process = start_command([*arguments, "--steps", steps])
        _, errors = process.communicate(timeout=WAIT_SECONDS)
        assert process.returncode == 0, (what, errors)
    assert_as_if_never_stopped(killed, straight, f"seed {SEED}: {what}")

    for options in ([again], [other, "--seed", 1]):
        finish(start_fork([*fresh, "--steps", steps, "--out", *options]))
    assert differences(straight, again) == []
    differing = {name.split(".")[1] for name in differences(straight, other) if "." in name}
    assert {"generator", "critic", "ema", "rng", "jsonl"} <= differing


@pytest.mark.parametrize("pattern", [".ckpt.pt.part", "samples/.*.part"])
def test_a_kill_in_the_middle_of_writing(digits, start_fork, tmp_path, pattern):
    fresh = ["--type", "dcgan", "--data", f"npz:{digits}", *TINY, "--sample-every", 1]
    killed, straight = tmp_path / "killed", tmp_path / "straight"
    for _ in range(20):
        process = start_fork(go_on_or_start(fresh, killed))
        before, since = saved_at(killed), time.monotonic()
        while saved_at(killed) == before or not list(killed.glob(pattern)):
            assert process.poll() is None, "gan-train ended"
            assert time.monotonic() - since < WAIT_SECONDS, f"nothing was written in {WAIT_SECONDS} s"
        process.kill()
        process.wait()
        if list(killed.glob(pattern)):
            break
    else:
        pytest.fail("no kill hit a write")
    steps = load_checkpoint(killed / "ckpt.pt").step + STEPS_AFTER
    for arguments in (go_on_or_start(fresh, killed), [*fresh, "--out", straight]):
        finish(start_fork([*arguments, "--steps", steps]))
    assert_as_if_never_stopped(killed, straight, pattern)


def saved_at(out: Path) -> int:
    """When the checkpoint was written, in ns; 0 for none."""
    path = out / "ckpt.pt"
    return path.stat().st_mtime_ns if path.exists() else 0
