"""gan-export: parse, call, print."""

from __future__ import annotations

import json
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from gan_training.command import INTERRUPTED, run_command

from .artifact.candidate import CertificationError
from .artifact.certificate import TOLERANCE, Options
from .artifact.gates import ALLOWABLE
from .artifact.manifest import EXACT
from .artifact.providers import CPU, check_provider
from .artifact.reading import ArtifactError
from .capture import CaptureError
from .option_values import (
    assignments,
    checked_name,
    image_shape_of,
    name_of,
    output_range_of,
    providers_of,
    read_names,
    variants_of,
)
from .package import export
from .refusal import ExportError, IntakeError, StoppedError
from .report import show_export
from .sources import load_source
from .store import check_store, put_into_store
from .target import check_target
from .wishes import Wishes

EPILOG = """
Examples:

  gan-export runs/digits/ckpt.pt

  gan-export runs/digits/ckpt.pt --name digits --out models/digits --force

  gan-export runs/digits/ckpt.pt --variants fp32,int8        then: GAN_VARIANT=auto bentoml serve

  gan-export netG.pth                                        names the families that fit

  gan-export netG.pth --family pytorch-examples/dcgan

  gan-export G.pth --module model.py:Generator --init nz=100 --latent 100 --classes 10

  gan-export generator.onnx --latent-input noise

Then: bentoml serve. Exit codes: 0, 1 (refused or failed), 2 (bad arguments), 130 (Ctrl-C). Other than with 0 nothing
was written, unless the line says that the artifact is: copying it for --store comes last.
"""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


class WeightsOption(StrEnum):
    """Which of a checkpoint's two generators."""

    EMA = "ema"
    RAW = "raw"


class DistributionOption(StrEnum):
    """What latents are drawn from."""

    NORMAL = "normal"
    UNIFORM = "uniform"


class LatentShapeOption(StrEnum):
    """(N, D) or (N, D, 1, 1)."""

    FLAT = "flat"
    MAP = "map"


class LabelOption(StrEnum):
    """How a module wants its labels."""

    IDS = "ids"
    ONE_HOT = "one-hot"
    NONE = "none"


class OrderOption(StrEnum):
    """Of a module's arguments."""

    LATENT_FIRST = "latent-first"
    LABEL_FIRST = "label-first"


FOREIGN = "Somebody else's generator"
MODULE = "With --module"
GRAPH = "Of an ONNX file"


@app.command(epilog=EPILOG)
def export_command(
    weights_file: Annotated[
        Path,
        typer.Argument(metavar="WEIGHTS", help="ckpt.pt of gan-train, a .pt, .pth or .safetensors file, or .onnx."),
    ],
    out: Annotated[Path | None, typer.Option(help="Artifact folder. Default: models/NAME.")] = None,
    name: Annotated[
        str | None, typer.Option(help="Name that clients will use. Default: the run's folder name, or the file's.")
    ] = None,
    weights: Annotated[
        WeightsOption, typer.Option(help="ema: averaged over training, if there are any; raw: the last step's.")
    ] = WeightsOption.EMA,
    class_names: Annotated[
        Path | None, typer.Option(help="Text file with a class name on each line, in the order of the ids.")
    ] = None,
    tolerance: Annotated[
        float, typer.Option(help="Largest absolute error of pixels on [-1, 1].", min=1e-9, max=2.0)
    ] = TOLERANCE,
    allow: Annotated[
        list[str] | None,
        typer.Option(metavar="CODE", help=f"Let this gate fail; can be repeated. One of {', '.join(ALLOWABLE)}."),
    ] = None,
    variants: Annotated[
        str,
        typer.Option(
            metavar="fp32[,int8][,fp16]",
            help="Graphs to make. int8 and fp16, which is for GPUs, are left out where they do not pay on this host, "
            "can't be run on it, or show.",
        ),
    ] = EXACT,
    providers: Annotated[
        str,
        typer.Option(
            metavar="cpu[,cuda][,cuda-tf32]",
            help="What the certificate is made with; cpu always is, and cuda for fp16 where there is one. For another "
            "host's GPU: --for-gpu here, and gan-verify --provider cuda --add there.",
        ),
    ] = CPU.word,
    portable: Annotated[
        bool, typer.Option("--portable", help="Leave the graph as it was traced: no rewrites that pay on this host.")
    ] = False,
    for_gpu: Annotated[
        bool,
        typer.Option(
            "--for-gpu",
            help="Write transposed convolutions as plain ones, of which GPUs have fast kernels that repeat themselves. "
            "Implied by cuda among --providers.",
        ),
    ] = False,
    store: Annotated[bool, typer.Option("--store", help="Put the artifact into BentoML's model store too.")] = False,
    force: Annotated[
        bool,
        typer.Option(
            "--force", help="Replace an artifact that is there already; a folder with other files in it is refused."
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the certificate as JSON.")] = False,
    family: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Public repository the weights are from.", rich_help_panel=FOREIGN),
    ] = None,
    module: Annotated[
        str | None,
        typer.Option(
            metavar="FILE.py:CLASS", help="Your own file and class. This runs your file.", rich_help_panel=FOREIGN
        ),
    ] = None,
    init: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE", help="Constructor argument, or a family's answer; repeated.", rich_help_panel=FOREIGN
        ),
    ] = None,
    weights_key: Annotated[
        str | None,
        typer.Option(metavar="KEY", help="Where in the file the weights are, e.g. generator.", rich_help_panel=FOREIGN),
    ] = None,
    latent: Annotated[
        int | None,
        typer.Option(metavar="D", help="Length of a latent vector.", min=1, max=65536, rich_help_panel=FOREIGN),
    ] = None,
    classes: Annotated[
        int | None,
        typer.Option(metavar="K", help="Number of classes; 0 or absent: none.", min=0, rich_help_panel=FOREIGN),
    ] = None,
    distribution: Annotated[
        DistributionOption | None,
        typer.Option(help="What latents are drawn from. Default: normal.", rich_help_panel=FOREIGN),
    ] = None,
    image_shape: Annotated[
        str | None,
        typer.Option(metavar="C,H,W", help="Where the output does not tell it.", rich_help_panel=FOREIGN),
    ] = None,
    output_range: Annotated[
        str | None,
        typer.Option(metavar="LOW,HIGH", help="-1,1 (tanh) or 0,1 (sigmoid).", rich_help_panel=FOREIGN),
    ] = None,
    latent_shape: Annotated[
        LatentShapeOption | None, typer.Option(help="(N, D) or (N, D, 1, 1).", rich_help_panel=MODULE)
    ] = None,
    label_as: Annotated[LabelOption | None, typer.Option(help="How labels are passed.", rich_help_panel=MODULE)] = None,
    argument_order: Annotated[
        OrderOption | None, typer.Option(help="Which comes first in forward.", rich_help_panel=MODULE)
    ] = None,
    forward: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE",
            help="Argument of forward that is no latent or label, e.g. alpha=1.0; repeated.",
            rich_help_panel=MODULE,
        ),
    ] = None,
    latent_input: Annotated[
        str | None, typer.Option(metavar="NAME", help="Input that takes latents.", rich_help_panel=GRAPH)
    ] = None,
    label_input: Annotated[
        str | None, typer.Option(metavar="NAME", help="Input that takes labels.", rich_help_panel=GRAPH)
    ] = None,
    output: Annotated[
        str | None, typer.Option(metavar="NAME", help="Output that gives images.", rich_help_panel=GRAPH)
    ] = None,
) -> None:
    """Export a generator to ONNX and certify the file; on failure there is no artifact and the reason is told."""
    console = Console(stderr=True)
    chosen = name_of(weights_file) if name is None else checked_name(name)
    unknown = [code for code in allow or () if code not in ALLOWABLE]
    if unknown:
        raise typer.BadParameter(f"{unknown[0]!r}: use one of {', '.join(ALLOWABLE)}", param_hint="--allow")
    if portable and for_gpu:
        raise typer.BadParameter(
            "rewrites the graph, and --portable leaves it; give one of them", param_hint="--for-gpu"
        )
    asked, drawn_by = variants_of(variants), providers_of(providers)
    wishes = Wishes(
        weights=weights.value,
        weights_key=weights_key,
        family=family,
        module=module,
        init=assignments(init or [], "--init"),
        forward=assignments(forward or [], "--forward"),
        latent_dim=latent,
        classes=classes,
        class_names=None if class_names is None else read_names(class_names),
        distribution=None if distribution is None else distribution.value,
        latent_shape=None if latent_shape is None else latent_shape.value,
        label_as=None if label_as is None else _underscored(label_as),
        order=None if argument_order is None else _underscored(argument_order),
        image_shape=None if image_shape is None else image_shape_of(image_shape),
        output_range=None if output_range is None else output_range_of(output_range),
        latent_input=latent_input,
        label_input=label_input,
        output=output,
    )
    target = out or Path("models") / chosen
    # Before the file is read, which may take long.
    check_target(target, force=force)
    for provider in drawn_by:
        check_provider(provider)
    if store:
        check_store(chosen)
    with console.status("reading the file") as status:
        exported = export(
            load_source(weights_file, wishes, status.update),
            chosen,
            target,
            options=Options(tolerance=tolerance, allowed=tuple(sorted(set(allow or ())))),
            variants=asked,
            providers=drawn_by,
            portable=portable,
            for_gpu=for_gpu,
            force=force,
            progress=status.update,
        )
        try:
            if store:
                status.update("copying into BentoML's model store")
            tag = put_into_store(exported.artifact) if store else None
        except KeyboardInterrupt as error:
            raise StoppedError(f"stopped; {target} is written") from error
    if as_json:
        print(json.dumps(exported.certificate.model_dump(mode="json")))
    else:
        show_export(exported, tag)


def _underscored(option: StrEnum) -> Any:
    return option.value.replace("-", "_")


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of `gan-export`. Exit codes: 0, 1 (failed), 2 (bad arguments), 130 (Ctrl-C)."""
    failures: dict[type[Exception], int] = {
        IntakeError: 1,
        CaptureError: 1,
        CertificationError: 1,
        ExportError: 1,
        ArtifactError: 1,
        StoppedError: INTERRUPTED,
    }
    run_command(app, "gan-export", arguments, failures, "stopped; nothing was written")
