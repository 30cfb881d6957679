"""Entry point of `gan-train`, also as `python -m gan_training`; says what to install where torch is missing."""

from __future__ import annotations

from .command import run_module


def main() -> None:
    """Run gan-train."""
    run_module("gan_training.cli", "gan-train", "train")


if __name__ == "__main__":
    main()
