"""gan-train under torchrun: two real processes write what one writes, stop together, and hand over to one."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from commands import run_forked

from gan_training.checkpoint import load_checkpoint

pytestmark = pytest.mark.slow

BIN = Path(sys.executable).parent
ENV = os.environ | {"OMP_NUM_THREADS": "1"}
TORCHRUN = [BIN / "torchrun", "--standalone", "--nproc-per-node=2", "-m", "gan_training"]
WAIT_SECONDS = 240


def words(text: str) -> list[str]:
    return text.split()


CLOSE = 5e-6  # absolute; weights and statistics are below 1, and the two sums are added in another order
MOVED = 1e-3  # what the compared steps change the weights by, at least
CLOSE_LOSS = 5e-5  # absolute; metrics.jsonl has 5 decimals
CLOSE_LOOK = 1e-3  # absolute; ratios of distances between samples that hardly differ yet
LOOKS = {"diversity", "spacing", "class_diversity", "recall", "classes_covered", "memorisation_ratio"}
TINY = words(
    "--type cgan --data digits --batch-size 16 --precision fp32 --device cpu --checkpoint-every 4 --sample-every 4 "
    "--set generator_width=6 --set critic_width=6 --set latent_dim=6 --set log_every=1 --set dropout=0.2 "
    "--set instance_noise=0.1 --set noisy_labels=0.1 --set r1_every=4 --set watch_every=3 --set evaluate_every=0"
)


def begin(cwd: Path, *command: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        list(map(str, command)), cwd=cwd, env=ENV, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def end(process: subprocess.Popen[str]) -> None:
    """Not by SIGKILL: torchrun has to end its workers."""
    process.terminate()
    process.communicate(timeout=WAIT_SECONDS)


def run(cwd: Path, *command: object) -> subprocess.CompletedProcess[str]:
    process = begin(cwd, *command)
    try:
        output, errors = process.communicate(timeout=WAIT_SECONDS)
    except subprocess.TimeoutExpired:
        end(process)
        raise
    return subprocess.CompletedProcess(command, process.returncode, output, errors)


def alone(cwd: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    return run_forked("gan-train", arguments, cwd, ENV, WAIT_SECONDS)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, subprocess.CompletedProcess[str]]]:
    """The same run of 8 steps in `one` and in `two` processes."""
    folder = tmp_path_factory.mktemp("trained")
    settings = (*TINY, "--steps", 8, "--out")
    done = {"one": alone(folder, *settings, "one"), "two": run(folder, *TORCHRUN, *settings, "two")}
    for process in done.values():
        assert process.returncode == 0, process.stderr
    return folder, done


def metrics(out: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def files(out: Path) -> list[str]:
    return sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file())


def largest_difference(one: Path, other: Path) -> float:
    """Between two checkpoints of the same step, over the weights and buffers of both nets and of the EMA."""
    a, b = load_checkpoint(one / "ckpt.pt"), load_checkpoint(other / "ckpt.pt")
    assert (a.step, a.batches) == (b.step, b.batches)
    assert torch.equal(a.trainer["torch_rng"], b.trainer["torch_rng"])
    return max(
        float((value.double() - b.trainer[net][name].double()).abs().max())
        for net in ("generator", "critic", "ema")
        for name, value in a.trainer[net].items()
    )


def test_two_processes_write_what_one_writes(trained):
    folder, done = trained
    assert largest_difference(folder / "one", folder / "two") < CLOSE
    assert files(folder / "two") == files(folder / "one")
    one, two = metrics(folder / "one"), metrics(folder / "two")
    assert [line["step"] for line in two] == [1, 2, 3, 4, 5, 6, 7, 8]
    for line, other in zip(one, two, strict=True):
        assert line.keys() == other.keys()
        for name in line.keys() - {"seconds", "images_per_second"}:
            close = CLOSE_LOOK if name in LOOKS else CLOSE_LOSS
            assert other[name] == pytest.approx(line[name], rel=0, abs=close), name
    assert [line.split(",")[0] for line in done["two"].stdout.splitlines()] == ["two/ckpt.pt (step 8"]
    assert done["two"].stderr.count("cgan on digits: ") == 1


def test_one_process_goes_on_with_the_run_of_two(trained):
    folder, _ = trained
    before = load_checkpoint(folder / "two/ckpt.pt")
    for out in ("one", "two"):
        done = alone(folder, "--resume", "--out", out, "--steps", 12)
        assert done.returncode == 0, done.stderr
    assert largest_difference(folder / "one", folder / "two") < CLOSE
    assert [line["step"] for line in metrics(folder / "two")] == list(range(1, 13))
    after = load_checkpoint(folder / "two/ckpt.pt").trainer["ema"]
    assert max(float((after[name] - value).abs().max()) for name, value in before.trainer["ema"].items()) > MOVED


def test_a_batch_that_cannot_be_shared_out_is_told_once(tmp_path):
    done = run(tmp_path, *TORCHRUN, *TINY, "--batch-size", 15, "--out", "out")
    assert done.returncode != 0
    assert [line for line in done.stderr.splitlines() if line.startswith("gan-train")] == [
        "gan-train: batch_size is 15; it must be a multiple of the 2 processes, e.g. 16"
    ]
    assert "exitcode  : 2 " in done.stderr  # what torchrun, which ends with 1, says of a worker
    assert not (tmp_path / "out").exists()


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start a command in the background; what still runs at the end of the test is ended."""
    started: list[subprocess.Popen[str]] = []
    # A child inherits an ignored SIGINT, as of a test run in the background of a script; a handler becomes the default.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)

    def start_one(cwd: Path, *command: object) -> subprocess.Popen[str]:
        started.append(begin(cwd, *command))
        return started[-1]

    yield start_one
    signal.signal(signal.SIGINT, before)
    for process in started:
        end(process)


def test_ctrl_c_stops_all_after_the_same_step(tmp_path, start, wait_for_step):
    out = tmp_path / "out"
    process = start(tmp_path, *TORCHRUN, *TINY, "--steps", 100_000_000, "--checkpoint-every", 100_000_000, "--out", out)
    wait_for_step(process, out, 3)
    process.send_signal(signal.SIGINT)  # torchrun passes it on, and kills after 30 s who has not gone by then
    _, errors = process.communicate(timeout=WAIT_SECONDS)
    step = load_checkpoint(out / "ckpt.pt").step
    told = [text for text in errors.splitlines() if text.startswith("gan-train")]
    assert told == [f"gan-train: stopped at step {step:,}; saved in {out}/ckpt.pt; continue with --resume"]
    assert metrics(out)[-1]["step"] == step >= 3
    assert "SIGKILL" not in errors
