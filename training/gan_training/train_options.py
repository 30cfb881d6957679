"""The options of gan-train, each with its type and its line of --help; the defaults stand in TrainConfig."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .config import GAN_TYPES

Type = Annotated[str | None, typer.Option("--type", metavar="|".join(GAN_TYPES), help="Which GAN.")]
Data = Annotated[
    str | None,
    typer.Option(
        help="digits (embedded), mnist, fashion-mnist, idx:DIR, folder:DIR (a subfolder per class), npz:FILE "
        "or hf:OWNER/NAME (Hugging Face Hub)."
    ),
]
Preset = Annotated[
    str | None,
    typer.Option(metavar="NAME|FILE.toml", help="Measured settings, e.g. cgan-28; other options come on top."),
]
Out = Annotated[Path | None, typer.Option(help="Folder of the run. Default: runs/TYPE, or runs/PRESET.")]
Steps = Annotated[int | None, typer.Option(help="Generator updates. Default: 4000.")]
Minutes = Annotated[float | None, typer.Option(help="Stop after this much time, if that is before --steps.")]
Seed = Annotated[int | None, typer.Option(help="Same seed, same machine: same run. Default: 0.")]
ImageSize = Annotated[int | None, typer.Option(help="Pixels: 16 to 128, e.g. 28, 32, 64. Default: the data's.")]
Channels = Annotated[int | None, typer.Option(help="1 (grey) or 3 (RGB). Default: the data's.")]
BatchSize = Annotated[int | None, typer.Option(help="Images in a step. Default: 64.")]
LatentKind = Annotated[str | None, typer.Option(help="Latents: normal or uniform. Default: normal.")]
UpsampleKind = Annotated[str | None, typer.Option(help="Generator: transpose or nearest. Default: transpose.")]
LipschitzKind = Annotated[str | None, typer.Option(help="wgan: gp or clip. Default: gp.")]
CriticSteps = Annotated[int | None, typer.Option(help="wgan: critic steps for a step. Default: 5.")]
Conditional = Annotated[bool | None, typer.Option("--conditional/--unconditional", help="wgan: see the labels.")]
CheckpointEvery = Annotated[int | None, typer.Option(help="Steps. Default: 500.")]
SampleEvery = Annotated[int | None, typer.Option(help="Steps between sample grids. Default: 500.")]
StopOnCollapse = Annotated[
    bool | None, typer.Option("--stop-on-collapse", help="Stop, with exit code 1, when samples collapse.")
]
TensorBoard = Annotated[bool, typer.Option("--tensorboard", help="Write TensorBoard events into OUT/tensorboard.")]
Precision = Annotated[str | None, typer.Option(help="auto, fp32 or bf16. Default: auto.")]
Device = Annotated[str | None, typer.Option(help="auto, cpu or cuda. Default: auto.")]
Assignments = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="Any other setting, e.g. --set generator_lr=1e-4."),
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")]
Force = Annotated[bool, typer.Option("--force", help="Start anew in a folder that holds a run.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print what would be trained, and stop.")]
