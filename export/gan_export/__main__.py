"""Entry points of `gan-export` (also `python -m gan_export`) and `gan-verify`; they tell what to install."""

from __future__ import annotations

import signal

from gan_training.cli.command import run_module


def main() -> None:
    """Run gan-export. SIGTERM stops it as Ctrl-C does: nothing is left behind."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    run_module("gan_export.cli.export", "gan-export", "export")


def verify() -> None:
    """Run gan-verify, which needs no torch."""
    run_module("gan_export.cli.verify", "gan-verify", "serve")


if __name__ == "__main__":
    main()
