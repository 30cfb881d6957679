"""What Python's garbage collector has to look at while serving."""

from __future__ import annotations

import gc
from typing import Final

YOUNG_OBJECTS: Final = 10_000
"""New objects after which the collector looks at them; Python's own number, 700, is that of a few requests."""


def settle() -> None:
    """Leave what was loaded at the start alone: it stays until the end.

    A full collection goes through all objects of the imported modules, and meanwhile nobody is answered. With 64
    connections 1 answer in 100 took more than 95 ms, and 16 ms without; 3,800 requests/s became 5,300.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, *gc.get_threshold()[1:])
