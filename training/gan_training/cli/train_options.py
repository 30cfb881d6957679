"""The options of gan-train, each with its type and its line of --help; the defaults stand in TrainConfig."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gan_training.config import GAN_TYPES, TrainConfig

_DEFAULTS = TrainConfig("dcgan", "")
"""Of all types; one's own may be others."""


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
Steps = Annotated[int | None, typer.Option(help=f"Generator updates. Default: {_DEFAULTS.steps}.")]
Minutes = Annotated[float | None, typer.Option(help="Stop after this much time, if that is before --steps.")]
Seed = Annotated[int | None, typer.Option(help=f"Same seed, same machine: same run. Default: {_DEFAULTS.seed}.")]
ImageSize = Annotated[int | None, typer.Option(help="Pixels: 16 to 128, e.g. 28, 32, 64. Default: the data's.")]
Channels = Annotated[int | None, typer.Option(help="1 (grey) or 3 (RGB). Default: the data's.")]
BatchSize = Annotated[int | None, typer.Option(help=f"Images in a step. Default: {_DEFAULTS.batch_size}.")]
LatentKind = Annotated[str | None, typer.Option(help=f"Latents: normal or uniform. Default: {_DEFAULTS.latent}.")]
UpsampleKind = Annotated[
    str | None, typer.Option(help=f"Generator: transpose or nearest. Default: {_DEFAULTS.upsample}.")
]
LipschitzKind = Annotated[str | None, typer.Option(help=f"wgan: gp or clip. Default: {_DEFAULTS.lipschitz}.")]
CriticSteps = Annotated[int | None, typer.Option(help=f"wgan: critic steps for a step. Default: {_DEFAULTS.n_critic}.")]
Conditional = Annotated[bool | None, typer.Option("--conditional/--unconditional", help="wgan: see the labels.")]
CheckpointEvery = Annotated[int | None, typer.Option(help=f"Steps. Default: {_DEFAULTS.checkpoint_every}.")]
SampleEvery = Annotated[
    int | None, typer.Option(help=f"Steps between sample grids. Default: {_DEFAULTS.sample_every}.")
]
StopOnCollapse = Annotated[
    bool | None, typer.Option("--stop-on-collapse", help="Stop, with exit code 1, when samples collapse.")
]
TensorBoard = Annotated[bool, typer.Option("--tensorboard", help="Write TensorBoard events into OUT/tensorboard.")]
Precision = Annotated[str | None, typer.Option(help=f"auto, fp32 or bf16. Default: {_DEFAULTS.precision}.")]
Device = Annotated[str | None, typer.Option(help=f"auto, cpu or cuda. Default: {_DEFAULTS.device}.")]
Assignments = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="Any other setting, e.g. --set generator_lr=1e-4."),
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")]
Force = Annotated[bool, typer.Option("--force", help="Start anew in a folder that holds a run.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print what would be trained, and stop.")]
