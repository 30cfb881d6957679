"""What gan-export prints when it is done."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Final

from rich.console import Console

from gan_export.artifact import Rewrite
from gan_export.package.export import Exported
from gan_export.show import show_certificate

SERVED_BY: Final = "serving/bento.py"
"""What `bentoml serve` starts in a checkout, and in no other folder."""
MODELS: Final = "models"
"""Where a checkout's service looks for artifacts."""


def show_export(exported: Exported, tag: str | None) -> None:
    """Notes, measurements, speeds and where it is; `tag` is that of BentoML's model store."""
    artifact, console = exported.artifact, Console(markup=False)
    left_out = [note for note in exported.notes if " is left out" in note.partition(":")[0]]
    for note in exported.notes:
        if note not in left_out:
            console.print(note, highlight=False, soft_wrap=True)
    show_certificate(exported.certificate, console)
    for variant in artifact.manifest.variants:
        speeds = ", ".join(f"{rate:,.0f} at batch {batch}" for batch, rate in variant.images_per_second.items())
        console.print(f"{variant.name}: images/s: {speeds}", highlight=False, soft_wrap=True)
        chosen = [one for one in variant.rewrites if one.layer is not None]
        if chosen:
            console.print(f"{variant.name}: {'; '.join(map(_words, chosen))}", highlight=False, soft_wrap=True)
    if tag is not None:
        console.print(f"in BentoML's model store as {tag}", highlight=False, soft_wrap=True)
    for note in left_out:  # below the table, where nobody misses it
        console.print(note, highlight=False, soft_wrap=True)
    command = serving_command(artifact.directory)
    console.print(f"{artifact.directory}; next: {command}", highlight=False, soft_wrap=True)


def serving_command(directory: Path) -> str:
    """What serves an artifact, for a shell in the current folder."""
    is_default = Path(SERVED_BY).is_file() and directory.resolve().parent == Path(MODELS).resolve()
    if is_default:
        return "bentoml serve"
    return f"GAN_MODELS={shlex.quote(str(directory))} bentoml serve gan_serving.service:GanService"


def _words(rewrite: Rewrite) -> str:
    gain = "" if rewrite.speedup is None else f" ({rewrite.speedup:.2f}x)"
    return f"{rewrite.layer} as {rewrite.name}{gain}"
