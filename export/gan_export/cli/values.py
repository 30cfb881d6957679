"""What the options of gan-export are written as; each raises typer.BadParameter that shows how."""

from __future__ import annotations

import os
import re
from pathlib import Path

import typer
from pydantic import TypeAdapter, ValidationError

from gan_export.artifact.manifest import EXACT, ModelName
from gan_export.artifact.providers import CPU, PROVIDERS, Provider
from gan_export.conventions import RANGES, ImageShape, Range, parse_image_shape
from gan_export.package.variants import VARIANTS
from gan_export.refusal import IntakeError


def name_of(weights_file: Path) -> str:
    """The run's folder for `runs/x/ckpt.pt`, else the file's own name, made fit for a URL."""
    path = Path(os.path.realpath(weights_file))  # Path.resolve fails on links in a circle
    name = path.parent.name if path.stem in ("ckpt", "best", "last") else path.stem
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-._")[:64] or "generator"


def checked_name(name: str) -> str:
    """A name that a manifest may have."""
    try:
        return TypeAdapter(ModelName).validate_python(name)
    except ValidationError:
        raise typer.BadParameter(
            f"{name!r}: use 1 to 64 letters, digits, '.', '_' or '-', beginning with a letter or digit",
            param_hint="--name",
        ) from None


def read_names(path: Path) -> tuple[str, ...]:
    """The lines of a file of class names that are not blank; raises IntakeError if it can't be read."""
    try:
        # With a byte order mark or without: some editors and spreadsheets write one.
        return tuple(line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip())
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise IntakeError(f"{path}: class names can't be read: {reason}") from error


def variants_of(text: str) -> tuple[str, ...]:
    """Names separated by commas: fp32, and int8 and fp16 if they are wanted."""
    names = tuple(part.strip() for part in text.split(","))
    unknown = [name for name in names if name not in VARIANTS]
    if unknown or EXACT not in names:
        raise typer.BadParameter(
            f"{text!r}: write {EXACT} and, optionally, others of {','.join(VARIANTS)}", param_hint="--variants"
        )
    return names


def providers_of(text: str) -> tuple[Provider, ...]:
    """Names separated by commas; the processor is left out of what is returned, for it always counts."""
    names = tuple(part.strip() for part in text.split(","))
    if any(name not in PROVIDERS for name in names):
        raise typer.BadParameter(f"{text!r}: write one or more of {','.join(PROVIDERS)}", param_hint="--providers")
    return tuple(provider for word, provider in PROVIDERS.items() if word in names and provider is not CPU)


def assignments(texts: list[str], option: str) -> dict[str, str]:
    """`KEY=VALUE` each; `option` is named when one is not."""
    pairs = [text.partition("=") for text in texts]
    for name, equals, _ in pairs:
        if not equals or not name.strip():
            raise typer.BadParameter(f"{name!r}: write it as KEY=VALUE", param_hint=option)
    return {name.strip(): value for name, _, value in pairs}


def image_shape_of(text: str) -> ImageShape:
    """`C,H,W`."""
    try:
        return parse_image_shape(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r}: {error}", param_hint="--image-shape") from error


def output_range_of(text: str) -> Range:
    """`LOW,HIGH`, one of those that images have."""
    found = RANGES.get(text.replace(" ", ""))
    if found is None:
        raise typer.BadParameter(f"{text!r}: use one of {', '.join(RANGES)}", param_hint="--output-range")
    return found
