"""Entry points of `gan-train` (also `python -m gan_training`) and `gan-eval`: what to install where torch is not."""

from __future__ import annotations

from .cli.command import run_module


def main() -> None:
    """Run gan-train."""
    run_module("gan_training.cli.train", "gan-train", "train")


def evaluate() -> None:
    """Run gan-eval."""
    run_module("gan_training.cli.evaluate", "gan-eval", "train")


if __name__ == "__main__":
    main()
