"""gan-train: parse, call, print."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from .assignments import parse_assignments
from .checkpoint import CheckpointError
from .command import INTERRUPTED, run_command
from .config import GAN_TYPES, ConfigError, TrainConfig
from .data import DataError, UnknownSourceError
from .observer import TellFn
from .outcome import TrainingDivergedError, TrainingStoppedError
from .parallel import Parallel, ParallelError, PeerLostError, started
from .presets import load_preset
from .progress import Reporter
from .run import Run, describe
from .specs import SpecError

EPILOG = """
Examples:

  gan-train --type acgan --data digits --out runs/digits

  gan-train --type wgan --data folder:photos --image-size 64 --lipschitz clip

  gan-train --resume --out runs/digits --steps 20000

  gan-train --preset cgan-28 --data mnist

  torchrun --standalone --nproc-per-node 2 -m gan_training --type acgan --data digits --out runs/digits

Then: gan-export runs/digits/ckpt.pt
"""

FAILURES: Final[dict[type[Exception], int]] = {
    ConfigError: 2,
    SpecError: 2,
    ParallelError: 2,
    UnknownSourceError: 2,  # before DataError, which it is one of
    DataError: 1,
    CheckpointError: 1,
    PeerLostError: 1,
    TrainingDivergedError: 1,
    TrainingStoppedError: INTERRUPTED,
}
"""What is told to the user in one line, and the exit code."""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command(epilog=EPILOG)
def train(
    type_: Annotated[str | None, typer.Option("--type", metavar="|".join(GAN_TYPES), help="Which GAN.")] = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="digits (embedded), mnist, fashion-mnist, idx:DIR, folder:DIR (a subfolder per class), npz:FILE "
            "or hf:OWNER/NAME (Hugging Face Hub)."
        ),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(metavar="NAME|FILE.toml", help="Measured settings, e.g. cgan-28; other options come on top."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the run. Default: runs/TYPE, or runs/PRESET.")] = None,
    steps: Annotated[int | None, typer.Option(help="Generator updates. Default: 4000.")] = None,
    minutes: Annotated[float | None, typer.Option(help="Stop after this much time, if that is before --steps.")] = None,
    seed: Annotated[int | None, typer.Option(help="Same seed, same machine: same run. Default: 0.")] = None,
    image_size: Annotated[
        int | None, typer.Option(help="Pixels: 16 to 128, e.g. 28, 32, 64. Default: the data's.")
    ] = None,
    channels: Annotated[int | None, typer.Option(help="1 (grey) or 3 (RGB). Default: the data's.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images in a step. Default: 64.")] = None,
    latent: Annotated[str | None, typer.Option(help="Latents: normal or uniform. Default: normal.")] = None,
    upsample: Annotated[str | None, typer.Option(help="Generator: transpose or nearest. Default: transpose.")] = None,
    lipschitz: Annotated[str | None, typer.Option(help="wgan: gp or clip. Default: gp.")] = None,
    n_critic: Annotated[int | None, typer.Option(help="wgan: critic steps for a step. Default: 5.")] = None,
    conditional: Annotated[
        bool | None, typer.Option("--conditional/--unconditional", help="wgan: see the labels.")
    ] = None,
    checkpoint_every: Annotated[int | None, typer.Option(help="Steps. Default: 500.")] = None,
    sample_every: Annotated[int | None, typer.Option(help="Steps between sample grids. Default: 500.")] = None,
    stop_on_collapse: Annotated[
        bool | None, typer.Option("--stop-on-collapse", help="Stop, with exit code 1, when samples collapse.")
    ] = None,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Write TensorBoard events into OUT/tensorboard.")
    ] = False,
    precision: Annotated[str | None, typer.Option(help="auto, fp32 or bf16. Default: auto.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda. Default: auto.")] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Any other setting, e.g. --set generator_lr=1e-4."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Start anew in a folder that holds a run.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be trained, and stop.")] = False,
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
    changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    for name, value in parse_assignments(assignments or []).items():
        if name in changes and changes[name] != value:
            option = name.replace("_", "-")
            raise ConfigError(f"{name} is given twice: --{option} {changes[name]} and --set {name}={value}; choose one")
        changes[name] = value
    with started() as parallel, _told_once(parallel), Reporter() as reporter:
        tell = reporter.tell if parallel.is_main else lambda *_: None
        run = _open_run(type_, data, preset, out, changes, resume=resume, force=force, parallel=parallel, tell=tell)
        if parallel.is_main:
            reporter.line(describe(run))
            for advice in run.advice:
                reporter.line(f"advice: {advice}")
        if not dry_run:
            checkpoint = run.train(reporter if parallel.is_main else lambda _: None, tensorboard=tensorboard)
    if not parallel.is_main:
        return
    if dry_run:
        for name, value in run.config.to_dict().items():
            print(f"{name} = {value}")
        return
    print(f"{checkpoint} (step {run.step:,}, {run.seconds:.0f} s); next: gan-export {checkpoint}")


@contextmanager
def _told_once(parallel: Parallel) -> Iterator[None]:
    """The first of several processes tells what all have met; the others only what may be wrong on their machine."""
    try:
        yield
    except tuple(FAILURES) as error:
        if parallel.is_main or isinstance(error, DataError | CheckpointError):
            raise
        raise SystemExit(next(code for kind, code in FAILURES.items() if isinstance(error, kind))) from error


def _open_run(
    type_: str | None,
    data: str | None,
    preset: str | None,
    out: Path | None,
    changes: dict[str, Any],
    *,
    resume: bool,
    force: bool,
    parallel: Parallel,
    tell: TellFn,
) -> Run:
    if resume and force:
        raise ConfigError("--resume goes on with a run and --force starts anew; leave one of them out")
    settings = load_preset(preset) if preset is not None else {}
    own_type = settings.pop("type", None)
    if own_type is not None and type_ not in (None, own_type):
        raise ConfigError(f"--type is {type_}, but preset {preset} is one for {own_type}; leave one of them out")
    if resume:  # how long and how chatty it is, the run knows itself
        settings = {name: value for name, value in settings.items() if name not in TrainConfig.RUNTIME}
    type_, changes = type_ or own_type, settings | changes
    if resume:
        if out is None:
            raise ConfigError("--resume needs --out, the folder of the run to go on with")
        same = {name: value for name, value in (("type", type_), ("data", data)) if value is not None}
        return Run.resumed(out, same | changes, parallel, tell)
    if type_ is None:
        raise ConfigError(f"--type is missing; use one of {', '.join(GAN_TYPES)}, or a --preset")
    if data is None:
        raise ConfigError(
            "--data is missing; use digits, mnist, fashion-mnist, idx:DIR, folder:DIR, npz:FILE or hf:OWNER/NAME"
        )
    config = TrainConfig.for_type(type_, data, **changes)
    out = out or Path("runs") / (Path(preset).stem if preset else config.type)
    return Run.fresh(config, out, force=force, parallel=parallel, tell=tell)


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of `gan-train`. Exit codes: 0, 1 (failed), 2 (bad arguments), 130 (Ctrl-C)."""
    run_command(app, "gan-train", arguments, FAILURES, "stopped")
