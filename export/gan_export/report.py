"""What gan-export prints when it is done."""

from __future__ import annotations

from rich.console import Console

from .artifact import Rewrite
from .package import Exported
from .show import show_certificate


def show_export(exported: Exported, tag: str | None) -> None:
    """Notes, measurements, speeds and where it is; `tag` is that of BentoML's model store."""
    artifact, console = exported.artifact, Console()
    for note in exported.notes:
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
    console.print(f"{artifact.directory}; next: bentoml serve", highlight=False, soft_wrap=True)


def _words(rewrite: Rewrite) -> str:
    gain = "" if rewrite.speedup is None else f" ({rewrite.speedup:.2f}x)"
    return f"{rewrite.layer} as {rewrite.name}{gain}"
