"""What the user sees on stderr while the service works."""

from __future__ import annotations

import contextlib
import sys


def spinner(message: str, quiet: bool) -> contextlib.AbstractContextManager[object]:
    """Show `message` while the block runs, if stderr is a terminal and not `quiet`."""
    if quiet or not sys.stderr.isatty():
        return contextlib.nullcontext()
    from rich.console import Console
    from rich.text import Text

    return Console(stderr=True).status(Text(message))
