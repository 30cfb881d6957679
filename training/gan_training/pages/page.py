"""Self-contained HTML pages: a template filled in, pictures inside; pages and pictures are written whole."""

from __future__ import annotations

import base64
import io
import os
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from PIL import Image

from gan_training.checkpoint import CheckpointError
from gan_training.failures import looking
from gan_training.files.atomic import write_atomically


def write_html(path: Path, template: str, **values: Any) -> None:
    """Fill `template`, a file of this package, with autoescaped values and write it to `path`, whole or not at all.

    Raises:
        CheckpointError: the file can't be written.
    """
    environment = Environment(
        loader=FunctionLoader(lambda name: resources.files(__package__).joinpath(name).read_text("utf-8")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    text = environment.get_template(template).render(**values)
    try:
        # A name that came from a file name may hold bytes that are no UTF-8.
        write_atomically(path, lambda part: part.write_bytes(text.encode("utf-8", "backslashreplace")))
    except OSError as error:
        raise CheckpointError(f"{path}: can't be written: {error.strerror}") from error


def number(value: float | None) -> str:
    """Four significant digits, or nothing for a value that was not measured."""
    return "" if value is None else f"{value:.4g}"


def check_target(path: Path) -> None:
    """Whether a file can be made at `path`, looked at before the work whose result it is to hold.

    Raises:
        CheckpointError: it can't.
    """
    with looking(path):
        is_folder, has_parent = path.is_dir(), path.parent.is_dir()
    if is_folder:
        raise CheckpointError(f"{path}: is a folder; give a file")
    if not has_parent:
        raise CheckpointError(f"{path}: can't be written: there is no folder {path.parent}")
    if not os.access(path.parent, os.W_OK):
        raise CheckpointError(f"{path}: can't be written: no permission to write into {path.parent}")


def write_picture(path: Path, picture: Image.Image) -> None:
    """Write a picture to `path` as PNG, whole or not at all.

    Raises:
        CheckpointError: the file can't be written.
    """
    try:
        write_atomically(path, lambda part: picture.save(part, format="PNG", optimize=True))
    except OSError as error:
        raise CheckpointError(f"{path}: can't be written: {error.strerror}") from error


def inline(picture: Image.Image) -> str:
    """The picture as a PNG data URL."""
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return data_url(buffer.getvalue(), "png")


def data_url(content: bytes, kind: str) -> str:
    """An encoded picture (`kind`: png, jpeg) as a data URL."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
