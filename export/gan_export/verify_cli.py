"""gan-verify: parse, call, print. Free of torch, so that it runs on the host that serves."""

from __future__ import annotations

import json
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from gan_training.command import run_command

from .artifact.candidate import CertificationError
from .artifact.providers import PROVIDERS, check_provider
from .artifact.reading import ArtifactError
from .artifact.verify import add_results, verify, with_slow_layers
from .show import show_certificate

EPILOG = """
Examples:

  gan-verify models/digits

  gan-verify models/digits --json | jq .passed

  gan-verify models/digits --provider cuda --add

Exit codes: 0 all gates passed here, 1 one failed or the artifact is damaged, 2 bad arguments.
"""


class ProviderOption(StrEnum):
    """The words for providers."""

    CPU = "cpu"
    CUDA = "cuda"
    CUDA_TF32 = "cuda-tf32"


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command(epilog=EPILOG)
def verify_command(
    directory: Annotated[Path, typer.Argument(metavar="ARTIFACT_DIR", help="What gan-export has made.")],
    tolerance: Annotated[
        float | None,
        typer.Option(
            help="Largest absolute error of pixels on [-1, 1]. Default: the one of the export.", min=1e-9, max=2.0
        ),
    ] = None,
    provider: Annotated[
        ProviderOption, typer.Option(help="What draws here: the processor, or a GPU with CUDA.")
    ] = ProviderOption.CPU,
    add: Annotated[
        bool,
        typer.Option(
            "--add", help="Put what was measured into the artifact's certificate, of each variant that passed."
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was measured as JSON.")] = False,
) -> None:
    """Repeat an artifact's certificate on this host, from the artifact alone, against the images stored in it."""
    with Console(stderr=True).status("reading the artifact") as status:
        try:
            check_provider(PROVIDERS[provider.value])
            found, stored = verify(directory, tolerance, status.update, PROVIDERS[provider.value])
            added = add_results(directory, found.passing()) if add else []
        except (ArtifactError, CertificationError) as error:
            if as_json:
                print(json.dumps({"passed": False, "code": error.code, "message": str(error), "certificate": None}))
            raise
    failure = found.failures[0] if found.failures else None
    if as_json:
        passed = {"passed": failure is None, "code": failure[1].code if failure else None}
        message = {"message": failure[1].complaint() if failure else None}
        print(json.dumps(passed | message | {"certificate": found.model_dump(mode="json")}))
    else:
        console = Console()
        show_certificate(found, console)
        if stored.allowed:
            console.print(f"let through at export by --allow: {', '.join(stored.allowed)}", highlight=False)
    if failure is not None:
        variant, gate = failure
        names = f"; added: {', '.join(result.variant for result in added)}" if added else ""
        raise ArtifactError(gate.code, f"{directory}: {variant} {gate.complaint()}{names}")
    if not as_json:
        if slow := with_slow_layers(directory, PROVIDERS[provider.value]):
            Console().print(
                f"{' and '.join(slow)}: for transposed convolutions a GPU has to take a slow algorithm; gan-export "
                "--for-gpu writes plain ones in their place",
                highlight=False,
                soft_wrap=True,
            )
        told = "; its certificate says so" if added else "; its certificate has stronger results" if add else ""
        Console().print(f"{directory}: verified on this host{told}", highlight=False, soft_wrap=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of `gan-verify`. Exit codes: 0, 1 (failed), 2 (bad arguments), 130 (Ctrl-C)."""
    failures: dict[type[Exception], int] = {ArtifactError: 1, CertificationError: 1}
    run_command(app, "gan-verify", arguments, failures, "stopped")
