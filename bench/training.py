"""How fast and how large is training: ours against a plain PyTorch script with the same nets.

    python bench/training.py              # all cases, about 10 minutes on two cores
    python bench/training.py --help       # with examples

Both sides train the same nets (specs of gan-train's defaults) with the same objective, batch size and learning rates on
the same images. Ours is gan-train's own Trainer: bfloat16 autocast where `--precision auto` picks it, channels_last,
fused Adam, EMA on. The other side is plain_script.py: float32, NCHW, default Adam, DataLoader, `.item()` on every loss,
no EMA. They take turns in short rounds (A B A B ...), so that other load on the machine hits both; each pair of rounds
gives one ratio, and the table has the median, smallest and largest. An image counts each time the critic sees it as
real. "Loading" is our data loading alone. Memory is the largest resident set (on a GPU: the largest allocation) of a
process of its own that trains one side for a few steps on random images of the same shape (reading `digits` takes more
memory than training on it); "before" is such a process before anything is built.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import plain_script
import torch
from report.results import processor
from report.training import tables

from gan_training.build import build_objective, build_specs
from gan_training.config import TrainConfig
from gan_training.data import ImageData, load_data
from gan_training.data.batches import EpochBatches
from gan_training.device import choose_bf16, choose_device
from gan_training.runs.run import Run

MEMORY_STEPS = 20
EPILOG = """examples:
  python bench/training.py --quick                          half a minute: is it in the right region?
  python bench/training.py --types dcgan wgan-gp --rounds 9
  python bench/training.py --threads 1 --json > training.json
  python bench/training.py --device cuda
"""


@dataclass(frozen=True)
class Case:
    """A configuration of gan-train, and what to train it on."""

    type: str
    settings: dict[str, Any]
    image_size: int = 28


CASES = {
    "dcgan": Case("dcgan", {}),
    "cgan": Case("cgan", {}),
    "acgan": Case("acgan", {}),
    "wgan-gp": Case("wgan", {"lipschitz": "gp"}),
    "wgan-clip": Case("wgan", {"lipschitz": "clip"}),
    "dcgan-64": Case("dcgan", {}, image_size=64),
}


@dataclass(frozen=True)
class Result:
    """Of one case: images/s are medians over the rounds, ratios are of each pair of rounds."""

    case: str
    precision: str
    ours: float  # images/s
    plain: float  # images/s
    ratio: float
    lowest: float
    highest: float
    loading: float  # images/s
    memory_ours: float  # MiB
    memory_plain: float  # MiB
    memory_before: float  # MiB


def load(case: Case) -> ImageData:
    """The embedded digits; for other sizes random images."""
    return load_data("digits") if case.image_size == 28 else random_images(case)


def random_images(case: Case) -> ImageData:
    """As many as there are digits, with ten classes; RGB but for the digits' own size."""
    shape = (5000, 1 if case.image_size == 28 else 3, case.image_size, case.image_size)
    pixels = torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    return ImageData(pixels, torch.arange(5000) % 10, tuple(map(str, range(10))), "random")


def config_of(case: Case, data: ImageData, device: str) -> TrainConfig:
    return TrainConfig.for_type(case.type, data.source, device=device, **case.settings)


def ours(config: TrainConfig, data: ImageData) -> Iterator[dict[str, float]]:
    """Each `next` is one step of our trainer; losses are read every `log_every` steps, as gan-train does."""
    trainer = Run(config, Path("unused"), data).trainer  # nothing is written as long as only the trainer is used
    while True:
        parts = trainer.step()
        is_read = trainer.steps_done % config.log_every == 0
        yield {name: float(value) for name, value in parts.items()} if is_read else {}


def plain(config: TrainConfig, data: ImageData) -> Iterator[dict[str, float]]:
    """The plain script with the same specs, objective and settings."""
    generator_spec, critic_spec = build_specs(config, data.image_size, data.channels, data.classes)
    return plain_script.train(
        data,
        generator_spec,
        critic_spec,
        build_objective(config),
        config.batch_size,
        config.generator_lr,
        config.critic_lr,
        (config.beta1, config.beta2),
        choose_device(config.device),
    )


SIDES: dict[str, Callable[[TrainConfig, ImageData], Iterator[dict[str, float]]]] = {"ours": ours, "plain": plain}


def images_per_second(steps: Iterator[object], n: int, images_per_step: int, device: torch.device) -> float:
    """The rate of n steps, with what the device still has to do."""
    synchronize(device)
    began = time.perf_counter()
    for _ in range(n):
        next(steps)
    synchronize(device)
    return n * images_per_step / (time.perf_counter() - began)


def synchronize(device: torch.device) -> None:
    """Wait until a GPU has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def measure(name: str, options: argparse.Namespace) -> Result:
    """Speeds of both sides in turns, of our loading alone, and memory in processes of their own."""
    case = CASES[name]
    data = load(case)
    config = config_of(case, data, options.device)
    device, critic_steps = choose_device(config.device), build_objective(config).critic_steps
    images = config.batch_size * critic_steps
    sides = {side: start(config, data) for side, start in SIDES.items()}
    for steps in sides.values():  # first calls build the nets, choose kernels and allocate
        images_per_second(steps, max(3, config.r1_every // critic_steps), images, device)
    # As many steps a round for both; a whole number of the penalty's period, so that each round has the same work.
    speed = images_per_second(sides["ours"], config.r1_every, images, device)
    wanted = options.seconds * speed / images
    n = max(1, round(wanted / config.r1_every)) * config.r1_every
    speeds: dict[str, list[float]] = {side: [] for side in sides}
    for _ in range(options.rounds):
        for side, steps in sides.items():
            speeds[side].append(images_per_second(steps, n, images, device))
    ratios = [a / b for a, b in zip(speeds["ours"], speeds["plain"], strict=True)]
    batches = EpochBatches(data, config.batch_size, config.seed)
    memory = {side: peak_memory(name, side, options) for side in (*SIDES, "before")}
    return Result(
        case=name,
        precision="bf16" if choose_bf16(config.precision, device) else "fp32",
        ours=statistics.median(speeds["ours"]),
        plain=statistics.median(speeds["plain"]),
        ratio=statistics.median(ratios),
        lowest=min(ratios),
        highest=max(ratios),
        loading=images_per_second(batches, 500, config.batch_size, torch.device("cpu")),
        memory_ours=memory["ours"],
        memory_plain=memory["plain"],
        memory_before=memory["before"],
    )


def peak_memory(name: str, side: str, options: argparse.Namespace) -> float:
    """MiB, measured by this program in a new process."""
    command = [sys.executable, __file__, "--memory-of", side, "--types", name, "--device", options.device]
    done = subprocess.run([*command, "--threads", str(options.threads)], capture_output=True, text=True, check=True)
    return float(done.stdout)


def print_own_memory(name: str, side: str, device: str) -> None:
    """Build one side, train it a little, print the largest memory of this process in MiB."""
    case = CASES[name]
    data = random_images(case)
    if side != "before":
        config = config_of(case, data, device)
        steps = SIDES[side](config, data)
        for _ in range(MEMORY_STEPS):
            next(steps)
        if choose_device(config.device).type == "cuda":
            print(torch.cuda.max_memory_allocated(choose_device(config.device)) / 2**20)
            return
    print(peak_resident())


def peak_resident() -> float:
    """MiB: the largest resident set of this process so far."""
    status = Path("/proc/self/status")
    if status.exists():  # Linux, where getrusage starts from the parent's size at the time of the fork
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) / 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # bytes on macOS


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="images/s of gan-train against a plain PyTorch script with the same nets, and peak memory",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--types", nargs="+", choices=CASES, default=list(CASES), metavar="CASE", help=", ".join(CASES))
    parser.add_argument("--rounds", type=int, help="pairs of rounds (default: 15; 3 with --quick)")
    parser.add_argument("--seconds", type=float, help="about how long a round of ours takes (default: 1.5; 0.3)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="default: as torch chooses")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")
    parser.add_argument("--quick", action="store_true", help="few and short rounds")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--memory-of", choices=[*SIDES, "before"], help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    options.rounds = options.rounds or (3 if options.quick else 15)
    options.seconds = options.seconds or (0.3 if options.quick else 1.5)
    return options


def main() -> None:
    options = parse()
    torch.set_num_threads(options.threads)
    if options.memory_of:
        print_own_memory(options.types[0], options.memory_of, options.device)
        return
    results = []
    for name in options.types:
        print(f"{name} ...", file=sys.stderr)
        results.append(measure(name, options))
    machine = {"torch": torch.__version__, "cpu": processor(), "threads": options.threads, "device": options.device}
    found = {**machine, "rounds": options.rounds, "results": [asdict(result) for result in results]}
    if options.json:
        print(json.dumps(found, indent=2))
    else:
        print(f"torch {torch.__version__}, {processor()}\n\n{tables(found)}")


if __name__ == "__main__":
    main()
