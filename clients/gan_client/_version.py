"""Which version this is."""

from __future__ import annotations


def version() -> str:
    """Of the installed package; `0+unknown` if it runs from its sources without being installed."""
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as version_of

    try:
        return version_of("ganworks")
    except PackageNotFoundError:
        return "0+unknown"
