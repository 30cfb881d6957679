"""What gan-export takes on its command line: one name for each option, with its help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal

import typer

from gan_export import conventions
from gan_export.artifact import latents
from gan_export.artifact.gates import ALLOWABLE
from gan_export.artifact.manifest import MAX_LATENT
from gan_export.sources import options as source_options

LabelWord = Literal["ids", "one-hot", "none"]
"""How a module wants its labels."""
LABEL_WORDS: Final[dict[LabelWord, Literal["ids", "one_hot", "none"]]] = {
    "ids": "ids",
    "one-hot": "one_hot",
    "none": "none",
}
OrderWord = Literal["latent-first", "label-first"]
"""Of a module's arguments."""
ORDER_WORDS: Final[dict[OrderWord, conventions.Order]] = {"latent-first": "latent_first", "label-first": "label_first"}

FOREIGN = "Somebody else's generator"
MODULE = "With --module"
GRAPH = "Of an ONNX file"

WeightsFile = Annotated[
    Path,
    typer.Argument(metavar="WEIGHTS", help="ckpt.pt of gan-train, a .pt, .pth or .safetensors file, or .onnx."),
]
Out = Annotated[Path | None, typer.Option(help="Artifact folder. Default: models/NAME.")]
Name = Annotated[
    str | None, typer.Option(help="Name that clients will use. Default: the run's folder name, or the file's.")
]
Weights = Annotated[
    source_options.Weights,
    typer.Option(help="ema: averaged over training, if the file has them; raw: of the last step."),
]
ClassNames = Annotated[
    Path | None, typer.Option(help="Text file with a class name on each line, in the order of the ids.")
]
Tolerance = Annotated[float, typer.Option(help="Largest absolute error of pixels on [-1, 1].", min=1e-9, max=2.0)]
Allow = Annotated[
    list[str] | None,
    typer.Option(metavar="CODE", help=f"Allow this gate to fail; can be repeated. One of {', '.join(ALLOWABLE)}."),
]
Variants = Annotated[
    str,
    typer.Option(
        metavar="fp32[,int8][,fp16]",
        help="Graphs to make. int8 and fp16, which is for GPUs, are left out where they are not worth it on this host, "
        "can't be run on it, or visibly change the images.",
    ),
]
Providers = Annotated[
    str,
    typer.Option(
        metavar="cpu[,cuda][,openvino]...",
        help="What the certificate is made with: cpu, cuda, cuda-tf32, openvino, openvino-bf16. cpu always is, and "
        "cuda for fp16 where there is a GPU. For another "
        "host's GPU: --for-gpu here, and gan-verify --provider cuda --add there.",
    ),
]
Portable = Annotated[
    bool,
    typer.Option("--portable", help="Leave the graph as it was traced: no rewrites to make it faster on this host."),
]
ForGpu = Annotated[
    bool,
    typer.Option(
        "--for-gpu",
        help="Write transposed convolutions as plain ones, for which GPUs have fast, deterministic kernels. "
        "Implied by cuda among --providers.",
    ),
]
Store = Annotated[bool, typer.Option("--store", help="Put the artifact into BentoML's model store too.")]
Force = Annotated[
    bool,
    typer.Option("--force", help="Replace an existing artifact; a folder with other files in it is refused."),
]
Json = Annotated[bool, typer.Option("--json", help="Print the certificate as JSON.")]

Family = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Public repository the weights are from.", rich_help_panel=FOREIGN),
]
Module = Annotated[
    str | None,
    typer.Option(
        metavar="FILE.py:CLASS", help="Your own file and class. This runs your file.", rich_help_panel=FOREIGN
    ),
]
Init = Annotated[
    list[str] | None,
    typer.Option(
        metavar="KEY=VALUE",
        help="Constructor argument, or a family's answer; repeated. A Python literal, true, false or none, else text.",
        rich_help_panel=FOREIGN,
    ),
]
WeightsKey = Annotated[
    str | None,
    typer.Option(metavar="KEY", help="Where in the file the weights are, e.g. generator.", rich_help_panel=FOREIGN),
]
LatentDim = Annotated[
    int | None,
    typer.Option(
        "--latent", metavar="D", help="Length of a latent vector.", min=1, max=MAX_LATENT, rich_help_panel=FOREIGN
    ),
]
Classes = Annotated[
    int | None,
    typer.Option(metavar="K", help="Number of classes; 0 or absent: none.", min=0, rich_help_panel=FOREIGN),
]
Distribution = Annotated[
    latents.Distribution | None,
    typer.Option(help="What latents are drawn from. Default: normal.", rich_help_panel=FOREIGN),
]
ImageShape = Annotated[
    str | None,
    typer.Option(metavar="C,H,W", help="Where it can't be read from the output.", rich_help_panel=FOREIGN),
]
OutputRange = Annotated[
    str | None,
    typer.Option(metavar="LOW,HIGH", help="-1,1 (tanh) or 0,1 (sigmoid).", rich_help_panel=FOREIGN),
]

LatentShape = Annotated[
    conventions.LatentShape | None, typer.Option(help="(N, D) or (N, D, 1, 1).", rich_help_panel=MODULE)
]
LabelAs = Annotated[LabelWord | None, typer.Option(help="How labels are passed.", rich_help_panel=MODULE)]
ArgumentOrder = Annotated[OrderWord | None, typer.Option(help="Which comes first in forward.", rich_help_panel=MODULE)]
Forward = Annotated[
    list[str] | None,
    typer.Option(
        metavar="KEY=VALUE",
        help="Argument of forward that is neither latent nor label, e.g. alpha=1.0; repeated.",
        rich_help_panel=MODULE,
    ),
]

LatentInput = Annotated[
    str | None, typer.Option(metavar="NAME", help="Input that takes latents.", rich_help_panel=GRAPH)
]
LabelInput = Annotated[str | None, typer.Option(metavar="NAME", help="Input that takes labels.", rich_help_panel=GRAPH)]
Output = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", help="Output that gives images; of forward: its number or name.", rich_help_panel=FOREIGN
    ),
]
