"""What libraries' exceptions say, for a message of one line."""

from __future__ import annotations


def first_line(error: BaseException) -> str:
    """Its words up to the first line break, or its type where it has none."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
