"""gan-train: parse, call, print."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from .checkpoint import CheckpointError
from .command import INTERRUPTED, run_command
from .config import GAN_TYPES, ConfigError, TrainConfig, parse_assignments
from .data import DataError, UnknownSourceError
from .run import Progress as RunProgress
from .run import Run, TrainingDivergedError, TrainingStoppedError, describe
from .specs import SpecError

EPILOG = """
Examples:

  gan-train --type acgan --data digits --out runs/digits

  gan-train --type wgan --data folder:photos --image-size 64 --lipschitz clip

  gan-train --resume --out runs/digits --steps 20000

Then: gan-export runs/digits/ckpt.pt
"""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command(epilog=EPILOG)
def train(
    type_: Annotated[str | None, typer.Option("--type", metavar="|".join(GAN_TYPES), help="Which GAN.")] = None,
    data: Annotated[
        str | None,
        typer.Option(help="digits (embedded), idx:DIR, folder:DIR (a subfolder per class) or npz:FILE."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the run. Default: runs/TYPE.")] = None,
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
        "precision": precision,
        "device": device,
    }
    changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    changes |= parse_assignments(assignments or [])
    run = _open_run(type_, data, out, changes, resume=resume, force=force)
    Console(stderr=True).print(describe(run), highlight=False, soft_wrap=True)
    if dry_run:
        for name, value in run.config.to_dict().items():
            print(f"{name} = {value}")
        return
    with _Reporter() as reporter:
        checkpoint = run.train(reporter)
    print(f"{checkpoint} (step {run.step:,}, {run.seconds:.0f} s); next: gan-export {checkpoint}")


def _open_run(
    type_: str | None,
    data: str | None,
    out: Path | None,
    changes: dict[str, Any],
    *,
    resume: bool,
    force: bool,
) -> Run:
    if resume:
        if out is None:
            raise ConfigError("--resume needs --out, the folder of the run to go on with")
        same = {name: value for name, value in (("type", type_), ("data", data)) if value is not None}
        return Run.resumed(out, same | changes)
    if type_ is None:
        raise ConfigError(f"--type is missing; use one of {', '.join(GAN_TYPES)}")
    if data is None:
        raise ConfigError("--data is missing; use digits, idx:DIR, folder:DIR or npz:FILE")
    config = TrainConfig.for_type(type_, data, **changes)
    return Run.fresh(config, out or Path("runs") / config.type, force=force)


class _Reporter:
    """A progress bar on a terminal; a line now and then where there is none (a log, CI)."""

    SECONDS_BETWEEN_LINES = 10.0

    def __init__(self) -> None:
        self.console = Console(stderr=True)
        self.bar = Progress(
            TextColumn("training"),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.description}"),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self.task = self.bar.add_task("", total=1.0)
        self.last_line = 0.0

    def __enter__(self) -> _Reporter:
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def __call__(self, progress: RunProgress) -> None:
        text = describe_progress(progress)
        self.bar.update(self.task, completed=progress.share, description=text)
        due = progress.seconds - self.last_line >= self.SECONDS_BETWEEN_LINES or progress.share == 1
        if not self.console.is_terminal and due:
            self.last_line = progress.seconds
            self.console.print(f"{progress.share:4.0%} {text}", highlight=False, soft_wrap=True)


def describe_progress(progress: RunProgress) -> str:
    """`step 500/4,000, 1,652 images/s, ETA 1:43, critic 1.32, generator 0.76`."""
    minutes, seconds = divmod(round(progress.seconds_left), 60)
    losses = ", ".join(
        f"{name.removesuffix('_loss')} {progress.losses[name]:.2f}"
        for name in ("critic_loss", "generator_loss")
        if name in progress.losses
    )
    return (
        f"step {progress.step:,}/{progress.steps:,}, {progress.images_per_second:,.0f} images/s, "
        f"ETA {minutes}:{seconds:02d}, {losses}"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of `gan-train`. Exit codes: 0, 1 (failed), 2 (bad arguments), 130 (Ctrl-C)."""
    failures: dict[type[Exception], int] = {
        ConfigError: 2,
        SpecError: 2,
        UnknownSourceError: 2,  # before DataError, which it is one of
        DataError: 1,
        CheckpointError: 1,
        TrainingDivergedError: 1,
        TrainingStoppedError: INTERRUPTED,
    }
    run_command(app, "gan-train", arguments, failures, "stopped")
