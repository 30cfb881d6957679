"""gan-export: parse, call, print."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import typer

from gan_export.artifact import Artifact, ArtifactError
from gan_export.artifact.candidate import CertificationError
from gan_export.artifact.certificate import TOLERANCE, Options
from gan_export.artifact.gates import ALLOWABLE
from gan_export.artifact.manifest import EXACT
from gan_export.artifact.providers import CPU, Provider, check_provider
from gan_export.capture_errors import CaptureError
from gan_export.package.export import export
from gan_export.package.target import check_target
from gan_export.refusal import ExportError, IntakeError, StoppedError
from gan_export.sources.load import load_source
from gan_export.sources.options import SourceOptions
from gan_export.store import check_store, put_into_store
from gan_training.cli.command import INTERRUPTED, run_command
from gan_training.cli.terminal import console_of_stderr

from . import options
from .report import show_export
from .values import (
    assignments,
    checked_name,
    image_shape_of,
    name_of,
    output_range_of,
    providers_of,
    read_names,
    variants_of,
)

EPILOG = """
Examples:

  gan-export runs/digits/ckpt.pt

  gan-export runs/digits/ckpt.pt --name digits --out models/digits --force

  gan-export runs/digits/ckpt.pt --variants fp32,int8        then: GAN_VARIANT=auto bentoml serve

  gan-export netG.pth                                        names the families that fit

  gan-export netG.pth --family pytorch-examples/dcgan

  gan-export G.pth --module model.py:Generator --init nz=100 --latent 100 --classes 10

  gan-export generator.onnx --latent-input noise

The last line says how to serve it. Exit codes: 0, 1 (refused or failed), 2 (bad arguments), 130 (Ctrl-C, SIGTERM).
Other than with 0 nothing was written, unless the line says that the artifact is: copying it for --store comes last.

--version shows the version.
"""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command(epilog=EPILOG)
def export_command(
    weights_file: options.WeightsFile,
    out: options.Out = None,
    name: options.Name = None,
    weights: options.Weights = "ema",
    class_names: options.ClassNames = None,
    tolerance: options.Tolerance = TOLERANCE,
    allow: options.Allow = None,
    variants: options.Variants = EXACT,
    providers: options.Providers = CPU.word,
    portable: options.Portable = False,
    for_gpu: options.ForGpu = False,
    store: options.Store = False,
    force: options.Force = False,
    as_json: options.Json = False,
    family: options.Family = None,
    module: options.Module = None,
    init: options.Init = None,
    weights_key: options.WeightsKey = None,
    latent_dim: options.LatentDim = None,
    classes: options.Classes = None,
    distribution: options.Distribution = None,
    image_shape: options.ImageShape = None,
    output_range: options.OutputRange = None,
    latent_shape: options.LatentShape = None,
    label_as: options.LabelAs = None,
    argument_order: options.ArgumentOrder = None,
    forward: options.Forward = None,
    latent_input: options.LatentInput = None,
    label_input: options.LabelInput = None,
    output: options.Output = None,
) -> None:
    """Export a generator to ONNX and certify the file; on failure nothing is written and the reason is printed."""
    chosen = name_of(weights_file) if name is None else checked_name(name)
    _check_gates(allow or [])
    if portable and for_gpu:
        raise typer.BadParameter(
            "rewrites the graph, but --portable keeps it as it is; give only one of them", param_hint="--for-gpu"
        )
    asked, drawn_by = variants_of(variants), providers_of(providers)
    source_options = SourceOptions(
        weights=weights,
        weights_key=weights_key,
        family=family,
        module=module,
        init=assignments(init or [], "--init"),
        forward=assignments(forward or [], "--forward"),
        latent_dim=latent_dim,
        classes=classes,
        class_names=None if class_names is None else read_names(class_names),
        distribution=distribution,
        latent_shape=latent_shape,
        label_as=None if label_as is None else options.LABEL_WORDS[label_as],
        order=None if argument_order is None else options.ORDER_WORDS[argument_order],
        image_shape=None if image_shape is None else image_shape_of(image_shape),
        output_range=None if output_range is None else output_range_of(output_range),
        latent_input=latent_input,
        label_input=label_input,
        output=output,
    )
    target = out or Path("models") / chosen
    _check_before_reading(target, chosen if store else None, drawn_by, force=force)
    with console_of_stderr().status("reading the file") as status:
        exported = export(
            load_source(weights_file, source_options, status.update),
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
        tag = _put_into_store(exported.artifact, status.update) if store else None
    if as_json:
        print(json.dumps(exported.certificate.model_dump(mode="json")))
    else:
        show_export(exported, tag)


def _check_gates(codes: Sequence[str]) -> None:
    """Raises typer.BadParameter for a code of --allow that is not a gate's, or of a gate that has to pass."""
    for code in codes:
        if code not in ALLOWABLE:
            raise typer.BadParameter(f"{code!r}: use one of {', '.join(ALLOWABLE)}", param_hint="--allow")


def _check_before_reading(target: Path, stored_as: str | None, providers: Sequence[Provider], *, force: bool) -> None:
    """What would end the export anyway is told before the file is read, which may take long.

    Raises ExportError, ArtifactError.
    """
    check_target(target, force=force)
    for provider in providers:
        check_provider(provider)
    if stored_as is not None:
        check_store(stored_as)


def _put_into_store(artifact: Artifact, progress: Callable[[str], None]) -> str:
    """The artifact's tag in BentoML's model store. Raises StoppedError on Ctrl-C: the artifact is there by then."""
    try:
        progress("copying into BentoML's model store")
        return put_into_store(artifact)
    except KeyboardInterrupt as error:
        raise StoppedError(f"stopped; {artifact.directory} is written") from error


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of `gan-export`. Exit codes: 0, 1 (failed), 2 (bad arguments), 130 (Ctrl-C, SIGTERM)."""
    failures: dict[type[Exception], int] = {
        IntakeError: 1,
        CaptureError: 1,
        CertificationError: 1,
        ExportError: 1,
        ArtifactError: 1,
        StoppedError: INTERRUPTED,
    }
    run_command(app, "gan-export", arguments, failures, "stopped; nothing was written")
