"""Files on disk: safe names, and writing that leaves whole files or none."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Final

_LONGEST_SLUG: Final = 40


def slug(name: str) -> str:
    """`name` as part of a file name: letters and digits of any script, joined by `-`, 0 to 40 of them."""
    return re.sub(r"[\W_]+", "-", name)[:_LONGEST_SLUG].strip("-")


def image_name(index: int, count: int, seed: int | None, label: int | None, label_name: str | None) -> str:
    """File name of image `index` of `count`, e.g. `0003_seed-126_label-7-sneaker.png`; sorts by index."""
    width = max(4, len(str(count - 1)))
    parts = [f"{index:0{width}d}"]
    if seed is not None:
        parts.append(f"seed-{seed}")
    if label is not None:
        name = "" if label_name is None or label_name == str(label) else slug(label_name)
        parts.append(f"label-{label}-{name}" if name else f"label-{label}")
    return "_".join(parts) + ".png"


def write_all(directory: Path, contents: Mapping[str, bytes]) -> list[Path]:
    """Write every file of `contents` (name -> bytes) into `directory`, made if missing; the paths, in order.

    All files are complete under temporary names before the first is renamed, so a full disk or Ctrl-C leaves
    no half file behind. Raises OSError.
    """
    directory.mkdir(parents=True, exist_ok=True)
    token = uuid.uuid4().hex
    staged: list[tuple[Path, Path]] = []
    try:
        for name, content in contents.items():
            temporary = directory / f".{token}-{len(staged)}.tmp"
            staged.append((temporary, directory / name))
            temporary.write_bytes(content)
        for temporary, final in staged:
            temporary.replace(final)
    finally:
        for temporary, _ in staged:
            temporary.unlink(missing_ok=True)
    return [final for _, final in staged]
