"""The terminal that stderr may be."""

from __future__ import annotations

import sys

from rich.console import Console


def console_of_stderr() -> Console:
    """For progress that moves where stderr is a terminal.

    Rich takes a file for one, and hides its cursor, where FORCE_COLOR is set, which asks for colours alone.
    """
    console = Console(stderr=True)
    if console.is_terminal and not sys.stderr.isatty():
        return Console(stderr=True, force_terminal=False, color_system="standard")
    return console
