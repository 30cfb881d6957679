"""Files that nobody vouches for in messages: their text on one line, and what they are by their first bytes."""

from __future__ import annotations

import re
from typing import Final

MAX_SHOWN: Final = 80  # characters
HEAD_BYTES: Final = 512  # that tell what a file is

_BEGINNINGS: Final = (
    (re.compile(rb"version https://git-lfs"), "a Git LFS pointer, not the file itself; fetch it with: git lfs pull"),
    (re.compile(rb"\s*<(!doctype|html|\?xml|head)", re.I), "a web page, not the file itself; download it again"),
    (re.compile(rb"\x1f\x8b|BZh|\xfd7zXZ|7z\xbc\xaf|\x28\xb5\x2f\xfd|Rar!"), "a compressed file; unpack it first"),
)
"""Neither PyTorch's nor ONNX's."""


def shown(text: object) -> str:
    """Text of a file for a message: one line, not long."""
    line = str(text).encode("unicode_escape").decode("ascii")
    return line if len(line) <= MAX_SHOWN else f"{line[: MAX_SHOWN - 3]}..."


def kind_of(head: bytes, others: tuple[tuple[re.Pattern[bytes], str], ...]) -> str | None:
    """What a file is by its first bytes, and what to do; None if these tell nothing.

    Args:
        head: the first HEAD_BYTES of it.
        others: more beginnings, and what to say of them.
    """
    return next((what for pattern, what in (*_BEGINNINGS, *others) if pattern.match(head)), None)
