"""Two real processes against one: the same global batch, the same weights. As a script, this file is such a process."""

import copy
import itertools
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import torch
import torch.distributed as dist
from torch import nn

from gan_training.build import build_loop_settings, build_objective, build_specs
from gan_training.config import TrainConfig
from gan_training.loop import Trainer
from gan_training.nets import Critic, Generator, draw_latents
from gan_training.objectives import Batch
from gan_training.parallel import SINGLE, Parallel, ParallelError, PeerLostError, started

BIN = Path(sys.executable).parent
WORLD, BATCH, STEPS = 2, 8, 5
CLOSE = 2e-6  # absolute; weights and statistics are below 1, five steps of Adam were measured 7e-7 apart at most
CLOSE_LOSS = 1e-5  # absolute; a Wasserstein loss and its penalty are below 10
MOVED = 1e-3  # what five steps change a net by, at least
CLOSE_BF16 = 5e-3  # absolute; bfloat16 has 8 bits, and Adam makes a step of the learning rate from any gradient
NETS = ("generator", "critic", "ema")
WAIT_SECONDS = 300
SETTINGS = {"latent_dim": 6, "generator_width": 6, "critic_width": 6, "embed_dim": 4, "precision": "fp32"}
PLACE = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}
TIPS = {"soft_labels": 0.2, "noisy_labels": 0.3, "instance_noise": 0.3, "dropout": 0.3}
Result: TypeAlias = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """A run to be done by one process and by two."""

    gan_type: str
    settings: dict[str, Any]
    channels: int = 1
    bf16: bool = False


CASES = {
    "dcgan with R1": Case("dcgan", {"r1_gamma": 1.0, "r1_every": 2}),
    "dcgan with R1 and BatchNorm in the critic": Case(
        "dcgan", {"critic_norm": "batch", "r1_gamma": 0.1, "r1_every": 2}
    ),
    "dcgan with all tips": Case("dcgan", TIPS),
    "dcgan with all tips in RGB": Case("dcgan", TIPS, channels=3),
    "cgan with projection": Case("cgan", {"r1_gamma": 1.0, "critic_norm": "spectral"}, channels=3),
    "cgan with concat": Case("cgan", {"conditioned_by": "concat", "upsample": "nearest", "translate": 1}),
    "acgan": Case("acgan", {"auxiliary_weight": 0.5, "latent": "uniform"}),
    "acgan with a mapping": Case("acgan", {"mapping_layers": 2, "mapping_width": 7}),
    "wgan with penalty": Case("wgan", {"n_critic": 2, "conditional": True, "drift": 0.01, "translate": 2}),
    "wgan with clipping": Case("wgan", {"n_critic": 2, "lipschitz": "clip", "critic_lr": 1e-3}, channels=3),
    "cgan in bf16": Case("cgan", {"dropout": 0.2, "critic_norm": "batch"}, bf16=True),
}
RESUMED = "dcgan with all tips"


def build(case: Case, parallel: Parallel, taken: int = 0) -> Trainer:
    """A trainer after `taken` batches; every process builds the same, but for its rows of the data."""
    config = TrainConfig.for_type(case.gan_type, "noise", SETTINGS, **case.settings)
    specs = build_specs(config, 16, case.channels, 5)
    torch.manual_seed(3)
    return Trainer(
        Generator(specs[0]),
        Critic(specs[1]),
        build_objective(config),
        itertools.islice(noise_images(case.channels, config.is_conditional, parallel), taken, None),
        lambda n, rng: draw_latents(n, config.latent_dim, config.latent, rng),
        build_loop_settings(config, bf16=case.bf16),
        seed=7,
        parallel=parallel,
    )


def noise_images(channels: int, conditional: bool, parallel: Parallel) -> Iterator[Batch]:
    rng, rows = torch.Generator().manual_seed(5), parallel.rows(BATCH)
    while True:
        images = torch.rand(BATCH, channels, 16, 16, generator=rng) * 2 - 1
        labels = torch.randint(0, 5, (BATCH,), generator=rng)
        yield Batch(images[rows], labels[rows] if conditional else None)


def train(trainer: Trainer) -> Result:
    """`STEPS` steps; the state after them, and each step's losses and accuracies."""
    parts = [{name: float(value) for name, value in trainer.step().items()} for _ in range(STEPS)]
    return {"state": trainer.state_dict(), "parts": parts}


def resume(state: dict[str, Any], parallel: Parallel) -> Result:
    trainer = build(CASES[RESUMED], parallel, taken=STEPS)
    torch.manual_seed(12345)
    trainer.load_state_dict(state)
    return train(trainer)


def be_one_of_many(folder: Path) -> None:
    """What each of the processes does."""
    with started() as parallel:
        results: dict[str, Any] = {name: train(build(case, parallel)) for name, case in CASES.items()}
        results["resumed"] = resume(torch.load(folder / "one.pt"), parallel)
        results["anyone"] = [parallel.anyone(flag) for flag in (False, parallel.rank == 0, parallel.rank == 1, True)]
        results["average"] = parallel.average({"a": torch.tensor(float(parallel.rank)), "b": torch.tensor(4.0)})
        results["rows"] = parallel.rows(BATCH)
        results["place"] = (parallel.rank, parallel.world, parallel.local_rank, parallel.is_main)
        parallel.barrier()
        if parallel.rank == 1:
            torch.save(results, folder / "1.pt")
            os._exit(0)
        try:
            parallel.barrier()
        except PeerLostError as error:
            results["lost"] = str(error)
    results["threads"] = [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]
    torch.save(results, folder / "0.pt")


@pytest.fixture(scope="module")
def alone() -> dict[str, Result]:
    """Each case in one process."""
    torch.set_num_threads(1)
    return {name: train(build(case, SINGLE)) for name, case in CASES.items()}


@pytest.fixture(scope="module")
def together(alone: dict[str, Result], tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What the two processes found, by rank."""
    folder = tmp_path_factory.mktemp("together")
    torch.save(alone[RESUMED]["state"], folder / "one.pt")
    done = subprocess.run(
        [BIN / "torchrun", "--standalone", f"--nproc-per-node={WORLD}", __file__, folder],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=WAIT_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(WORLD)]


def largest_difference(a: dict[str, Any], b: dict[str, Any]) -> float:
    """Over all weights and buffers of the three nets."""
    assert a["steps_done"] == b["steps_done"]
    for net in NETS:
        assert list(a[net]) == list(b[net])
    return max(float((a[net][name].double() - b[net][name].double()).abs().max()) for net in NETS for name in a[net])


@pytest.mark.slow
def test_no_thread_of_gloo_outlives_the_run(together):
    """One that does meets the end of the interpreter, and now and then ends the process with SIGABRT."""
    assert together[0]["threads"]
    assert not [name for name in together[0]["threads"] if "gloo" in name]


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_two_processes_train_what_one_does(alone, together, case):
    one, two = alone[case], together[0][case]
    close, close_loss = (CLOSE_BF16, 0.1) if CASES[case].bf16 else (CLOSE, CLOSE_LOSS)
    close_accuracy = 1 / BATCH if CASES[case].bf16 else CLOSE_LOSS  # a score near 0 may have the other sign
    assert largest_difference(one["state"], two["state"]) < close
    for step, other in zip(one["parts"], two["parts"], strict=True):
        assert other.keys() == step.keys()
        for name, value in step.items():
            assert other[name] == pytest.approx(
                value, rel=0, abs=close_accuracy if name.endswith("accuracy") else close_loss
            )
    start = build(CASES[case], SINGLE).state_dict()
    for net in NETS:
        assert max(float((start[net][name] - value).abs().max()) for name, value in one["state"][net].items()) > MOVED


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_all_processes_hold_the_same_state_to_the_bit(alone, together, case):
    first, second = (results[case] for results in together)
    for net in NETS:
        assert all(torch.equal(value, second["state"][net][name]) for name, value in first["state"][net].items())
    assert first["parts"] == second["parts"]
    for name in ("rng", "torch_rng"):
        # The draws of one process: else a resumed run would draw others.
        assert torch.equal(first["state"][name], second["state"][name])
        assert torch.equal(first["state"][name], alone[case]["state"][name])


@pytest.mark.slow
def test_a_run_goes_on_with_more_or_fewer_processes(alone, together):
    straight = build(CASES[RESUMED], SINGLE)
    for _ in range(2):
        wanted = train(straight)["state"]
    assert largest_difference(together[0]["resumed"]["state"], wanted) < 2 * CLOSE
    assert largest_difference(resume(together[0][RESUMED]["state"], SINGLE)["state"], wanted) < 2 * CLOSE
    assert largest_difference(alone[RESUMED]["state"] | {"steps_done": 2 * STEPS}, wanted) > MOVED


@pytest.mark.slow
def test_processes_agree_and_know_their_place(together):
    for rank, results in enumerate(together):
        assert results["place"] == (rank, WORLD, rank, rank == 0)
        assert results["rows"] == slice(rank * BATCH // WORLD, (rank + 1) * BATCH // WORLD)
        assert results["anyone"] == [False, True, True, True]
        assert {name: float(value) for name, value in results["average"].items()} == {"a": 0.5, "b": 4.0}


@pytest.mark.slow
def test_a_lost_process_is_told_in_one_line(together):
    assert together[0]["lost"].startswith("lost another process of this run (")
    assert "\n" not in together[0]["lost"]


def test_one_process_alone_starts_nothing(monkeypatch):
    for world in (None, "1"):
        if world:
            monkeypatch.setenv("WORLD_SIZE", world)
        with started() as parallel:
            assert parallel == SINGLE
            assert not dist.is_initialized()
            assert parallel.is_main
            assert parallel.rows(7) == slice(0, 7)
            assert [parallel.anyone(flag) for flag in (False, True)] == [False, True]
            parallel.barrier()
            assert parallel.device(torch.device("cuda:3")) == torch.device("cuda:3")


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("ours", ["rand_like", "randn_like"])
def test_rows_of_all_processes_are_the_draws_of_one(layout, ours):
    whole = torch.empty(6, 3, 4, 4).to(memory_format=layout)
    torch.manual_seed(1)
    wanted = getattr(torch, ours)(whole)
    drawn = []
    for rank in range(3):
        torch.manual_seed(1)
        drawn.append(getattr(Parallel(rank, 3, rank), ours)(whole[:2]))
    assert torch.equal(torch.cat(drawn), wanted)
    torch.manual_seed(1)
    assert torch.equal(getattr(SINGLE, ours)(whole), wanted)


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        ({"WORLD_SIZE": "2"}, "RANK and LOCAL_RANK and MASTER_ADDR and MASTER_PORT is not set"),
        ({**PLACE, "MASTER_PORT": ""}, "WORLD_SIZE is 2, but MASTER_PORT is not set; start with torchrun"),
        ({**PLACE, "RANK": "first"}, "RANK=first, WORLD_SIZE=2, LOCAL_RANK=1 must be whole numbers"),
        ({**PLACE, "MASTER_PORT": "http"}, "can't reach the other processes: "),
    ],
)
def test_a_wrong_environment_is_refused(monkeypatch, settings, wanted):
    for name in PLACE:
        monkeypatch.delenv(name, raising=False)
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ParallelError, match=wanted) as caught, started():
        pass
    assert "\n" not in str(caught.value)
    assert not dist.is_initialized()


def test_what_cannot_be_shared_is_refused():
    second = Parallel(1, 3, 1)
    with pytest.raises(ParallelError, match=r"batch_size is 64; it must be a multiple of the 3 processes, e\.g\. 66"):
        second.rows(64)
    with pytest.raises(ParallelError, match="device is cuda:1, and 3 processes can't share it; use cuda or auto"):
        second.device(torch.device("cuda:1"))
    assert second.device(torch.device("cpu")) == torch.device("cpu")
    if torch.cuda.device_count() < 2:
        with pytest.raises(ParallelError, match=f"there are {torch.cuda.device_count()} GPUs here and 2 or more proc"):
            second.device(torch.device("cuda"))
    own = type("OwnBatchNorm2d", (nn.BatchNorm2d,), {})  # may compute something else
    for layer in (nn.BatchNorm3d(2), own(2)):
        with pytest.raises(ParallelError, match=f"1 is a {type(layer).__name__}"):
            second.shared(nn.Sequential(nn.Linear(2, 2), layer))


def test_shared_layers_are_the_plain_ones_in_eval_mode():
    net = build(CASES["dcgan with all tips"], SINGLE).generator.eval()
    z = torch.randn(3, 6)
    wanted, state = net(z), {name: value.clone() for name, value in net.state_dict().items()}
    shared = Parallel(1, 2, 1).shared(copy.deepcopy(net))
    assert type(shared.project_norm) is not nn.BatchNorm2d
    assert torch.equal(shared(z), wanted)
    assert list(shared.state_dict()) == list(state)
    assert all(torch.equal(value, state[name]) for name, value in shared.state_dict().items())


if __name__ == "__main__":
    be_one_of_many(Path(sys.argv[1]))
