"""What a message shows: a value cut short, a number of things, or the name that somebody meant who mistyped one."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable
from difflib import get_close_matches
from itertools import islice
from typing import Final

SHOWN: Final = 60  # characters of an offending value
LONGEST: Final = 40  # characters of a name that is compared: it takes time
MOST: Final = 1000  # names that it is compared with
_short = reprlib.Repr()
_short.maxstring = _short.maxother = _short.maxlong = SHOWN
_short.maxlist = _short.maxdict = 3
_short.maxlevel = 2


def show(value: object) -> str:
    """A value for a message: one line, and short, whatever it is."""
    return _short.repr(value)


def counted(count: float, one: str, many: str) -> str:
    """`1 entry`, `2 entries`, `0.5 entries`."""
    return f"{count:.15g} {one if count == 1 else many}"


def nearest(asked: str, known: Iterable[str]) -> str | None:
    """The one of the known names that is most like it, capitals or not; None if none is."""
    if len(asked) > LONGEST:
        return None
    short = {name.casefold(): name for name in islice(known, MOST) if len(name) <= LONGEST}
    return next((short[near] for near in get_close_matches(asked.casefold(), short, n=1)), None)
