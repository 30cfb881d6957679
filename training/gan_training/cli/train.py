"""gan-train: parse, call, print."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import torch
import typer

from gan_training.checkpoint import CheckpointError
from gan_training.config import GAN_TYPES, ONLY_FOR, ConfigError
from gan_training.data import DataError, ImageData, UnknownSourceError
from gan_training.parallel import Parallel, ParallelError, PeerLostError, started
from gan_training.runs.outcome import OutOfMemoryError, TrainingDivergedError, TrainingStoppedError
from gan_training.specs import SpecError

from . import train_options as options
from .assignments import parse_assignments
from .command import INTERRUPTED, need, run_command
from .progress import Reporter
from .request import Request, open_run

EPILOG = """
Examples:

  gan-train --type acgan --data digits --out runs/digits

  gan-train --type wgan --data folder:photos --image-size 64 --lipschitz clip

  gan-train --resume --out runs/digits --steps 20000

  gan-train --preset cgan-28 --data mnist

  torchrun --standalone --nproc-per-node 2 -m gan_training --type acgan --data digits --out runs/digits

Then: gan-export runs/digits/ckpt.pt

--version shows the version.
"""

FAILURES: Final[dict[type[Exception], int]] = {
    ConfigError: 2,
    SpecError: 2,
    ParallelError: 2,
    UnknownSourceError: 2,  # before DataError, which it is one of
    DataError: 1,
    CheckpointError: 1,
    PeerLostError: 1,
    OutOfMemoryError: 1,
    TrainingDivergedError: 1,
    TrainingStoppedError: INTERRUPTED,
}
"""What is told to the user in one line, and the exit code."""

CLASSES: Final = 100
"""So many of the data's classes a dry run names."""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command(epilog=EPILOG)
def train(
    type_: options.Type = None,
    data: options.Data = None,
    preset: options.Preset = None,
    out: options.Out = None,
    steps: options.Steps = None,
    minutes: options.Minutes = None,
    seed: options.Seed = None,
    image_size: options.ImageSize = None,
    channels: options.Channels = None,
    batch_size: options.BatchSize = None,
    latent: options.LatentKind = None,
    upsample: options.UpsampleKind = None,
    lipschitz: options.LipschitzKind = None,
    n_critic: options.CriticSteps = None,
    conditional: options.Conditional = None,
    checkpoint_every: options.CheckpointEvery = None,
    sample_every: options.SampleEvery = None,
    stop_on_collapse: options.StopOnCollapse = None,
    tensorboard: options.TensorBoard = False,
    precision: options.Precision = None,
    device: options.Device = None,
    assignments: options.Assignments = None,
    resume: options.Resume = False,
    force: options.Force = False,
    dry_run: options.DryRun = False,
) -> None:
    """Train a DCGAN, CGAN, ACGAN or WGAN; writes ckpt.pt, samples/*.png and metrics.jsonl into --out."""
    given = {
        "steps": steps,
        "minutes": minutes,
        "seed": seed,
        "image_size": image_size,
        "channels": channels,
        "batch_size": batch_size,
        "latent": latent,
        "upsample": upsample,
        "lipschitz": lipschitz,
        "n_critic": n_critic,
        "conditional": conditional,
        "checkpoint_every": checkpoint_every,
        "sample_every": sample_every,
        "stop_on_collapse": stop_on_collapse,
        "precision": precision,
        "device": device,
    }
    changes = _changes(given, assignments or [])
    request = Request(type_, data, preset, out, changes, resume=resume, force=force, dry_run=dry_run)
    _train(request, tensorboard=tensorboard)


def _changes(given: dict[str, Any], assignments: list[str]) -> dict[str, Any]:
    """The settings that options of their own and `--set` name; raises ConfigError where the two disagree."""
    changes = {name: value for name, value in given.items() if value is not None}
    for name, value in parse_assignments(assignments).items():
        if name in changes and changes[name] != value:
            option = name.replace("_", "-")
            raise ConfigError(f"{name} is given twice: --{option} {changes[name]} and --set {name}={value}; choose one")
        changes[name] = value
    return changes


def _train(request: Request, *, tensorboard: bool) -> None:
    """Open the run and train it, in this process and those that torchrun has started beside it; print what came."""
    with started() as parallel, _told_once(parallel), Reporter() as reporter:
        tell = reporter.tell if parallel.is_main else lambda *_: None
        run = open_run(request, parallel, tell)
        if parallel.is_main:
            reporter.line(run.description)
            if request.dry_run and run.data.classes:
                reporter.line(f"classes (images): {_classes(run.data)}")
            for advice in run.advice:
                reporter.line(f"advice: {advice}")
        if not request.dry_run:
            if run.config.report:
                need("jinja2", "matplotlib")
            checkpoint = run.train(reporter if parallel.is_main else lambda _: None, tensorboard=tensorboard)
    if not parallel.is_main:
        return
    if request.dry_run:
        for name, value in run.config.to_dict().items():
            if run.config.type in ONLY_FOR.get(name, GAN_TYPES):
                print(f"{name} = {value}")
        return
    print(f"{checkpoint} (step {run.step:,}, {run.seconds:.0f} s); next: gan-export {shlex.quote(str(checkpoint))}")


def _classes(data: ImageData) -> str:
    """`cat (20), dog (30), ...`: how many images there are of each class, of up to CLASSES classes."""
    counts = [] if data.labels is None else torch.bincount(data.labels, minlength=data.classes).tolist()
    named = [f"{name} ({count:,})" for name, count in zip(data.class_names, counts, strict=True)]
    more = f" and {len(named) - CLASSES:,} more" if len(named) > CLASSES else ""
    return f"{', '.join(named[:CLASSES])}{more}"


@contextmanager
def _told_once(parallel: Parallel) -> Iterator[None]:
    """The first of several processes tells what all have met; the others only what may be wrong on their machine."""
    try:
        yield
    except tuple(FAILURES) as error:
        if parallel.is_main or isinstance(error, DataError | CheckpointError | OutOfMemoryError):
            raise
        raise SystemExit(next(code for kind, code in FAILURES.items() if isinstance(error, kind))) from error


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of `gan-train`. Exit codes: 0, 1 (failed), 2 (bad arguments), 130 (Ctrl-C, SIGTERM)."""
    run_command(app, "gan-train", arguments, FAILURES, "stopped")
