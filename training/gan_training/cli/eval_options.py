"""The options of gan-eval, each with its type and its line of --help."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from gan_training import checkpoint


class FeaturesOption(StrEnum):
    """Whose features distances are measured in."""

    AUTO = "auto"
    CLASSIFIER = "classifier"
    INCEPTION = "inception"


Images = Annotated[
    list[Path], typer.Argument(metavar="CKPT|IMAGES...", help="ckpt.pt, npz or folder; several are compared.")
]
Data = Annotated[
    str, typer.Option(help="Real training images: digits, mnist, idx:DIR, folder:DIR, npz:FILE, hf:OWNER/NAME, ...")
]
TestData = Annotated[
    str | None,
    typer.Option(
        help="Real images to compare with. Default: a tenth of --data, held out from the classifier that measures, "
        "not from a GAN that was trained on --data."
    ),
]
Count = Annotated[int, typer.Option("--n", min=8, max=1_000_000, help="Images to judge.")]
ImageSize = Annotated[int | None, typer.Option(help="Pixels. Default: the checkpoint's, or the data's.")]
Channels = Annotated[int | None, typer.Option(help="1 or 3. Default: the checkpoint's, or the data's.")]
Weights = Annotated[checkpoint.Weights, typer.Option(help="Of a checkpoint.")]
Seed = Annotated[int, typer.Option(min=0, max=2**53 - 1, help="Of a checkpoint's latents.")]
Features = Annotated[
    FeaturesOption,
    typer.Option(help="What measures distances. auto: inception where it is on disk, else classifier."),
]
Page = Annotated[Path | None, typer.Option(help="Write a page with pictures to this HTML file.")]
Neighbours = Annotated[
    Path | None,
    typer.Option(
        metavar="PNG",
        help="Write the samples of each class closest to training images, each with that image on its right.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
