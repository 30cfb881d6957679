"""What a person looks at first: the preview picture and the model card."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from gan_export.artifact import PREVIEW_FILE, Artifact, Manifest, Variant, draw, open_session, run_session
from gan_export.artifact.certificate import Certificate, Gate, VariantCertificate
from gan_export.artifact.pixels import psnr_of
from gan_export.artifact.providers import first_provider
from gan_export.artifact.sheet import contact_sheet
from gan_export.show import share_of, title_of

CARD_FILE = "README.md"
PREVIEW_COLUMNS = 8
PREVIEW_ROWS = 8  # without classes; with classes a row each
MOST_PREVIEW_ROWS = 100  # of more classes, these are evenly spread
MOST_NAMES = 1000  # of classes
TAILS = "These errors are over all images compared, including those from the tails of the latent distribution."
WITHOUT_TAILS = "The gates `psnr`, `visible` and `worst_image` leave the tails out."


def draw_preview(artifact: Artifact) -> Image.Image:
    """Images of the seeds 0, 1, 2, ... from the final file: a row for each class, of many for some, or 8 rows."""
    manifest = artifact.manifest
    rows = min(manifest.classes, MOST_PREVIEW_ROWS) or PREVIEW_ROWS
    n = rows * PREVIEW_COLUMNS
    latents = draw(range(n), manifest.latent.dim, manifest.latent.distribution).latents
    chosen = np.linspace(0, manifest.classes - 1, rows).round().astype(np.int64)
    labels = np.repeat(chosen, PREVIEW_COLUMNS) if manifest.classes else None
    session, drawn = open_session(artifact), []
    for start in range(0, n, PREVIEW_COLUMNS):  # not at once: 100 rows of large images would take many gigabytes
        row = slice(start, start + PREVIEW_COLUMNS)
        drawn.append(run_session(session, latents[row], None if labels is None else labels[row]))
    return contact_sheet(np.concatenate(drawn), PREVIEW_COLUMNS)


def write_card(manifest: Manifest, certificate: Certificate, notes: Sequence[str] = ()) -> str:
    """The model card as Markdown."""
    image, latent, provenance = manifest.image, manifest.latent, manifest.provenance
    names = manifest.class_names or ["none (unconditional)"]
    classes = ", ".join(names[:MOST_NAMES]) + f" and {len(names) - MOST_NAMES:,} more" * (len(names) > MOST_NAMES)
    lines = [
        f"# {manifest.name}",
        "",
        f"![samples]({PREVIEW_FILE})",
        "",
        "| | |",
        "|---|---|",
        f"| family | `{manifest.family}` |",
        f"| images | {image.height}x{image.width}, {'grey' if image.channels == 1 else 'RGB'} |",
        f"| latents | {latent.dim}, {latent.distribution}, sampler `{latent.sampler}` |",
        f"| classes | {classes} |",
        f"| weights | {provenance.weights}, source sha256 `{provenance.source_sha256}` |",
        *(f"| {key.replace('_', ' ')} | {value} |" for key, value in provenance.training.items()),
        *(f"| {package} | {version} |" for package, version in provenance.packages.items()),
        "",
        *(line for note in notes for line in (note, "")),
        "## Certificate",
        "",
        f"Reference: {certificate.reference}.",
        "",
        "| variant | largest error | mean error | 99.9 % below | PSNR | uint8 pixels that differ | images/s at batch "
        + ", ".join(manifest.variants[0].images_per_second)
        + " |",
        "|---|---|---|---|---|---|---|",
    ]
    variants = {variant.name: variant for variant in manifest.variants}
    lines += [_errors_row(result, variants[result.variant]) for result in certificate.results]
    is_near = any(gate.code == "psnr" for result in certificate.results for gate in result.gates)
    lines += ["", f"{TAILS} {WITHOUT_TAILS}" if is_near else TAILS]
    if certificate.allowed:
        lines += ["", f"Allowed to fail by --allow: {', '.join(certificate.allowed)}."]
    lines += ["", "| variant | gate | measured | limit | unit |", "|---|---|---|---|---|"]
    lines += [_gate_row(result, gate) for result in certificate.results for gate in result.gates]
    return "\n".join(lines) + "\n"


def _gate_row(result: VariantCertificate, gate: Gate) -> str:
    allowed = " (allowed to fail)" if gate.allowed else ""
    psnr = f" ({psnr_of(gate.measured):.1f} dB)" if gate.code == "psnr" else ""
    return f"| {title_of(result)} | {gate.code}{allowed} | {gate.measured:.4g}{psnr} | {gate.limit:g} | {gate.unit} |"


def _errors_row(result: VariantCertificate, variant: Variant) -> str:
    # The rates are those of the variant's first provider.
    rates = variant.images_per_second.values() if result.provider == first_provider(result.variant).title else ()
    speeds = ", ".join(f"{rate:,.0f}" for rate in rates)
    errors = result.against_float32
    if errors is None:
        return f"| {title_of(result)} | not measured | | | | | {speeds} |"
    pixels = share_of(result.uint8_differing_share or 0.0)
    pixels += f" (by {result.uint8_max_difference} at most)" if result.uint8_max_difference else ""
    psnr = "no difference" if errors.psnr_db is None else f"{errors.psnr_db:.1f} dB"
    return (
        f"| {title_of(result)} | {errors.max_abs:.2e} | {errors.mean_abs:.2e} | {errors.p999_abs:.2e} | {psnr} "
        f"| {pixels} | {speeds} |"
    )
