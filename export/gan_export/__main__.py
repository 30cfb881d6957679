"""Entry point of `gan-export`, also as `python -m gan_export`; says what to install where torch or onnx is missing."""

from __future__ import annotations

from gan_training.command import run_module


def main() -> None:
    """Run gan-export."""
    run_module("gan_export.cli", "gan-export", "export")


if __name__ == "__main__":
    main()
