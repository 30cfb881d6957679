"""gan-verify: parse, call, print. Free of torch, so that it runs on the host that serves."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from gan_export.artifact import ArtifactError
from gan_export.artifact.candidate import CertificationError
from gan_export.artifact.certificate import Certificate, VariantCertificate
from gan_export.artifact.providers import PROVIDERS, ProviderWord, check_provider
from gan_export.artifact.verify import add_results, verify, with_slow_layers
from gan_export.show import show_certificate
from gan_training.cli.command import need, run_command
from gan_training.cli.terminal import console_of_stderr

EPILOG = """
Examples:

  gan-verify models/digits

  gan-verify models/digits --json | jq .passed

  gan-verify models/digits --provider cuda --add

  gan-verify models/digits --provider openvino --add        then:
  GAN_PROVIDER=openvino bentoml serve

Exit codes: 0 all gates passed here, 1 one failed or the artifact is damaged, 2 bad arguments.

--version shows the version.
"""


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command(epilog=EPILOG)
def verify_command(
    directory: Annotated[Path, typer.Argument(metavar="ARTIFACT_DIR", help="An artifact made by gan-export.")],
    tolerance: Annotated[
        float | None,
        typer.Option(
            help="Largest absolute error of pixels on [-1, 1]. Default: that of the export.", min=1e-9, max=2.0
        ),
    ] = None,
    provider: Annotated[
        ProviderWord, typer.Option(help="What runs the graph: ONNX Runtime or OpenVINO on the processor, or a GPU.")
    ] = "cpu",
    add: Annotated[
        bool,
        typer.Option("--add", help="Add the results of each variant that passed to the artifact's certificate."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was measured as JSON.")] = False,
) -> None:
    """Repeat an artifact's certificate on this host, from the artifact alone, against the images stored in it."""
    drawn_by = PROVIDERS[provider]
    if not drawn_by.is_openvino:
        need("onnxruntime")  # that of the process that draws; it would be missed there, as a graph that can't be loaded
    with console_of_stderr().status("reading the artifact") as status:
        try:
            check_provider(drawn_by)
            found, stored = verify(directory, tolerance, status.update, drawn_by)
            added = add_results(directory, found.passing()) if add else []
        except (ArtifactError, CertificationError) as error:
            if as_json:
                print(json.dumps({"passed": False, "code": error.code, "message": str(error), "certificate": None}))
            raise
    if as_json:
        print(json.dumps(_record(found)))
    else:
        _show(found, stored)
    _refuse_failed(found, directory, added)
    if not as_json:
        _show_slow(with_slow_layers(directory, drawn_by))
        told = (
            "; added to its certificate" if added else "; its certificate already has stronger results" if add else ""
        )
        Console(markup=False).print(f"{directory}: verified on this host{told}", highlight=False, soft_wrap=True)


def _record(found: Certificate) -> dict[str, object]:
    """What --json prints: whether all passed, the first gate that failed, and all that was measured."""
    gate = found.failures[0][1] if found.failures else None
    return {
        "passed": gate is None,
        "code": gate.code if gate else None,
        "message": gate.complaint() if gate else None,
        "certificate": found.model_dump(mode="json"),
    }


def _show(found: Certificate, stored: Certificate) -> None:
    console = Console(markup=False)
    show_certificate(found, console)
    if stored.allowed:
        console.print(f"allowed to fail at export by --allow: {', '.join(stored.allowed)}", highlight=False)


def _refuse_failed(found: Certificate, directory: Path, added: Sequence[VariantCertificate]) -> None:
    """Raises ArtifactError for the first gate that failed; it names what of the rest was `added`."""
    if found.failures:
        variant, gate = found.failures[0]
        names = f"; added: {', '.join(result.variant for result in added)}" if added else ""
        raise ArtifactError(f"{directory}: {variant} {gate.complaint()}{names}", code=gate.code)


def _show_slow(variants: Sequence[str]) -> None:
    if variants:
        Console(markup=False).print(
            f"{' and '.join(variants)}: a GPU has to use a slow algorithm for transposed convolutions; gan-export "
            "--for-gpu replaces them with plain ones",
            highlight=False,
            soft_wrap=True,
        )


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of `gan-verify`. Exit codes: 0, 1 (failed), 2 (bad arguments), 130 (Ctrl-C, SIGTERM)."""
    failures: dict[type[Exception], int] = {ArtifactError: 1, CertificationError: 1}
    run_command(app, "gan-verify", arguments, failures, "stopped")
