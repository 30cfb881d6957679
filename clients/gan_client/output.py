"""What `gan-client sample` leaves behind: the files, and the words about them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

from . import labels
from .errors import GanError, one_line
from .files import write_all
from .images import Generation

SHEET: Final = "sheet.png"


def refuse_unwritable(out: Path) -> None:
    """Find out before the service works for nothing. Raises GanError."""
    try:
        there = next((path for path in (out, *out.parents) if path.exists()), Path())
        reason = "" if there.is_dir() else f"{there} is not a folder"
        if not reason and not os.access(there, os.W_OK | os.X_OK):
            reason = f"no permission to write to {there}"
    except OSError as error:
        reason = error.strerror or str(error)
    if reason:
        raise GanError(f"can't write to {out}: {reason}; give another folder with --out")


def write(generation: Generation, out: Path, columns: int | None) -> list[Path]:
    """The files of the images, then the sheet. Raises GanError."""
    contents = {name: image.png for name, image in zip(generation.file_names, generation, strict=True)}
    contents[SHEET] = generation.grid_png(columns)
    try:
        return write_all(out, contents)
    except OSError as error:
        raise GanError(f"can't write to {out}: {error.strerror or error}; give another folder with --out") from error


def record(generation: Generation, files: list[Path], seconds: float) -> dict[str, Any]:
    """What `--json` prints of a generation and its `files`, the sheet last."""
    return {
        "model": generation.model,
        "seeds": [image.seed for image in generation],
        "labels": [image.label for image in generation],
        "files": [str(path) for path in files[:-1]],
        "sheet": str(files[-1]),
        "seconds": round(seconds, 3),
        "request_id": generation.request_id,
    }


def summary(generation: Generation, out: Path, seconds: float) -> str:
    """One line: how many images of what, from which seeds, where, and how long it took."""
    many = "s" if len(generation) > 1 else ""
    parts = [f"{len(generation)} image{many} of '{one_line(generation.model, 200)}'"]
    ids = {image.label for image in generation if image.label is not None}
    if len(ids) == 1:
        label, name = str(generation[0].label), generation[0].label_name
        parts.append(f"label {label}" if name in (None, label) else f"label {label} ({one_line(str(name), 200)})")
    elif ids:
        parts.append(f"labels {labels.ranges(ids)}")
    seeds = [image.seed for image in generation if image.seed is not None]
    parts.append(f"seed{many} {labels.ranges(seeds)}")
    return f"{', '.join(parts)} -> {out}{os.sep} (sheet: {out / SHEET}) in {seconds:.2f} s"
