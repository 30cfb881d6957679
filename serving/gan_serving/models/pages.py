"""What people look at of an artifact: its card, and the pictures in it. It is served without them too."""

from __future__ import annotations

import hashlib
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gan_export.artifact import PREVIEW_FILE, Artifact

CARD_FILE: Final = "README.md"
PNG_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
PAGES: Final = frozenset({PREVIEW_FILE, CARD_FILE})
MAX_PAGE_BYTES: Final = 16 * 2**20  # of a picture or a card; larger ones are not shown
MAX_PICTURES: Final = 8
_SHOWN: Final = re.compile(r"!\[[^\]\n]*\]\((\w[\w.-]*\.png)\)")  # of a file beside the card


@dataclass(frozen=True)
class Picture:
    """A PNG file."""

    content: bytes
    etag: str  # quoted as the header wants it


@dataclass(frozen=True)
class Pages:
    """Kept in memory: no name in a request is looked up in a folder."""

    card: str | None  # Markdown
    pictures: dict[str, Picture]  # by file name: the preview, and what else the card shows


def pages_of(artifact: Artifact) -> Pages:
    """Reads them; what isn't there, or isn't what it should be, is left out."""
    content = _page(artifact.directory / CARD_FILE)
    card = None if content is None else content.decode("utf-8", "replace")
    names = dict.fromkeys([PREVIEW_FILE, *_SHOWN.findall(card or "")])
    found = {name: _page(artifact.directory / name) for name in list(names)[:MAX_PICTURES]}
    return Pages(
        card,
        {
            name: Picture(content, f'"{hashlib.sha256(content).hexdigest()[:32]}"')
            for name, content in found.items()
            if content is not None and content.startswith(PNG_SIGNATURE)
        },
    )


def is_endless(path: Path) -> bool:
    """Whether it is neither a file nor a folder: reading a pipe or a device may never end."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _page(path: Path) -> bytes | None:
    if is_endless(path):
        return None
    try:
        return path.read_bytes() if path.stat().st_size <= MAX_PAGE_BYTES else None
    except OSError:
        return None
