"""The guard with nothing that a test doesn't ask for: no keys, no limits, every origin."""

from __future__ import annotations

from typing import Any

from starlette.types import ASGIApp, Scope

from gan_serving.call import Call
from gan_serving.middleware.api_keys import Keys
from gan_serving.middleware.foreign_pages import ForeignPages
from gan_serving.middleware.guard import Guard
from gan_serving.middleware.rate_limit import RateLimiter
from gan_serving.settings import Settings


class Nobody:
    """An observer that isn't interested."""

    def begin(self) -> None:
        """A request came."""

    def end(self, scope: Scope, call: Call, seconds: float) -> None:
        """It was answered, or its caller left."""


def guard_of(app: ASGIApp, **changes: Any) -> Guard:
    """A guard before an application; `changes` are its own arguments."""
    needed = {
        "body_timeout": float("inf"),
        "keys": Keys(),
        "limiter": RateLimiter.from_settings(Settings()),
        "observer": Nobody(),
        "pages": ForeignPages(["*"]),
    }
    return Guard(app, **needed | changes)
