"""gan-export: parse, call, print."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from pydantic import TypeAdapter, ValidationError
from rich.console import Console
from rich.table import Table

from gan_training.command import run_command

from .artifact.certificate import Certificate
from .artifact.manifest import ModelName
from .candidate import CertificationError
from .capture import CaptureError
from .intake import IntakeError, load_source
from .package import Exported, ExportError, export

EPILOG = """
Examples:

  gan-export runs/digits/ckpt.pt

  gan-export runs/digits/ckpt.pt --name digits --out models/digits --force

Then: bentoml serve
"""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


class WeightsOption(StrEnum):
    """Which of a checkpoint's two generators."""

    EMA = "ema"
    RAW = "raw"


@app.command(epilog=EPILOG)
def export_command(
    weights_file: Annotated[Path, typer.Argument(metavar="WEIGHTS", help="ckpt.pt of gan-train.")],
    out: Annotated[Path | None, typer.Option(help="Artifact folder. Default: models/NAME.")] = None,
    name: Annotated[
        str | None, typer.Option(help="Name that clients will use. Default: the run's folder name.")
    ] = None,
    weights: Annotated[
        WeightsOption, typer.Option(help="ema: averaged over training; raw: the last step's.")
    ] = WeightsOption.EMA,
    class_names: Annotated[
        Path | None, typer.Option(help="Text file with a class name on each line, in the order of the ids.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an artifact that is there already.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the certificate as JSON.")] = False,
) -> None:
    """Export a generator to ONNX and certify the file; on failure there is no artifact and the reason is told."""
    console = Console(stderr=True)
    chosen = name if name is not None else _name_of(weights_file)
    try:
        TypeAdapter(ModelName).validate_python(chosen)
    except ValidationError:
        raise typer.BadParameter(
            f"{chosen!r}: use 1 to 64 letters, digits, '.', '_' or '-', beginning with a letter or digit",
            param_hint="--name",
        ) from None
    names = None if class_names is None else _read_names(class_names)
    with console.status("reading the checkpoint") as status:
        source = load_source(weights_file, weights.value, names)
        exported = export(
            source,
            chosen,
            out or Path("models") / chosen,
            force=force,
            progress=lambda text: status.update(text),
        )
    if as_json:
        print(json.dumps(exported.certificate.model_dump(mode="json")))
    else:
        _show(exported)


def _show(exported: Exported) -> None:
    artifact, console = exported.artifact, Console()
    console.print(_gate_table(exported.certificate))
    for result, variant in zip(exported.certificate.results, artifact.manifest.variants, strict=True):
        speeds = ", ".join(f"{rate:,.0f} at batch {batch}" for batch, rate in variant.images_per_second.items())
        console.print(
            f"{result.variant}: {result.images} images differ from eager PyTorch by "
            f"{result.against_float32.max_abs:.2e} at most ({result.against_float32.mean_abs:.2e} in the mean), "
            f"{result.uint8_differing_share:.4%} of uint8 pixels by {result.uint8_max_difference} at most; "
            f"images/s: {speeds}",
            highlight=False,
            soft_wrap=True,
        )
    console.print(f"{artifact.directory}; next: bentoml serve", highlight=False, soft_wrap=True)


def _gate_table(certificate: Certificate) -> Table:
    table = Table("variant", "gate", "", "measured", "limit", "unit", box=None, pad_edge=False)
    for result in certificate.results:
        for gate in result.gates:
            verdict = "ok" if gate.passed else "FAILED"
            table.add_row(result.variant, gate.code, verdict, f"{gate.measured:.3g}", f"{gate.limit:g}", gate.unit)
    return table


def _name_of(weights_file: Path) -> str:
    """The run's folder for `runs/x/ckpt.pt`, else the file's own name, made fit for a URL."""
    path = weights_file.resolve()
    name = path.parent.name if path.stem in ("ckpt", "best", "last") else path.stem
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-._")[:64] or "generator"


def _read_names(path: Path) -> list[str]:
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise IntakeError(f"{path}: class names can't be read: {reason}") from error


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of `gan-export`. Exit codes: 0, 1 (failed), 2 (bad arguments), 130 (Ctrl-C)."""
    failures: dict[type[Exception], int] = {
        IntakeError: 1,
        CaptureError: 1,
        CertificationError: 1,
        ExportError: 1,
    }
    run_command(app, "gan-export", arguments, failures, "stopped; nothing was written")
