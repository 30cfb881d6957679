"""What Python's garbage collector has to look at while serving."""

from __future__ import annotations

import gc
from typing import Final

YOUNG_OBJECTS: Final = 10_000
"""New objects after which the collector looks at them; Python's own number, 700, is that of a few requests."""


def settle() -> None:
    """Leave what was loaded at the start alone: it stays until the end.

    A full collection goes through a hundred thousand objects of imported modules. It stopped every request for 90 ms,
    several times a second under load, and took a third of the throughput.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, *gc.get_threshold()[1:])
