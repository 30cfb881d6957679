"""Entry point of `gan-client`, which is also `python -m gan_client`: little is imported before Ctrl-C is one line."""

from __future__ import annotations

import sys

from .commands.stopping import leave_on_signals, stop_on_signals


def main() -> None:
    """Run gan-client."""
    leave_on_signals()
    from .program import run

    stop_on_signals()
    sys.exit(run(sys.argv[1:]))
