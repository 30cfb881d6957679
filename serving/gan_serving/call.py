"""The request that is being answered: what its handlers, its errors, the log and the metrics know of it."""

from __future__ import annotations

import random
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(slots=True)
class Call:
    """One request, as the log and the metrics tell of it; handlers fill in what they know."""

    request_id: str = ""
    key: str | None = None  # name of the API key
    model: str | None = None
    images: int = 0  # that were asked for
    code: str | None = None  # of its error
    status: int = 0  # 0: no response was begun
    sent: int = 0  # bytes of the response's body


_ids = random.Random()  # seeded by the system; an id is no secret
_call: ContextVar[Call] = ContextVar("call")


def new_request_id() -> str:
    """32 hexadecimal digits."""
    return f"{_ids.getrandbits(128):032x}"


def begin_call(call: Call) -> None:
    """Make it the current one of this task."""
    _call.set(call)


def current_call() -> Call:
    """The request that is being answered; one without an id where none is."""
    return _call.get(None) or Call()
