"""Entry points of `gan-export` (also `python -m gan_export`) and `gan-verify`; they tell what to install."""

from __future__ import annotations

from gan_training.cli.command import run_module


def main() -> None:
    """Run gan-export."""
    run_module("gan_export.cli.export", "gan-export", "export")


def verify() -> None:
    """Run gan-verify, which needs no torch."""
    run_module("gan_export.cli.verify", "gan-verify", "serve")


if __name__ == "__main__":
    main()
