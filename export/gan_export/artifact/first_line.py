"""What an error says, in one line."""

from __future__ import annotations


def first_line(error: BaseException) -> str:
    """The first line of its message; the name of its type where it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
