"""What every handler works with: one desk for each worker process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

from starlette.requests import Request

from .catalog import Catalog
from .metrics import Metrics
from .rate_limit import RateLimiter
from .response_cache import ResponseCache
from .settings import Settings

_T = TypeVar("_T")

SCOPE_KEY = "gan_serving.desk"
"""Where the front puts the desk into a request's ASGI scope."""


@dataclass
class Desk:
    """The worker's generators, settings, limits and encoders."""

    settings: Settings
    catalog: Catalog
    metrics: Metrics
    limiter: RateLimiter
    cache: ResponseCache = field(init=False)
    encoders: ThreadPoolExecutor = field(init=False)
    draining: bool = False  # told to stop: what was taken is finished, nothing new is

    def __post_init__(self) -> None:
        self.cache = ResponseCache(int(self.settings.cache_mib * 2**20))
        self.encoders = ThreadPoolExecutor(self.settings.encode_threads, thread_name_prefix="encode")

    async def in_encoders(self, work: Callable[[], _T]) -> _T:
        """Run `work` in the encoders' pool, so that the event loop stays free."""
        return await asyncio.get_running_loop().run_in_executor(self.encoders, work)


def desk_of(request: Request) -> Desk:
    """The desk of the worker that got this request."""
    desk: Desk = request.scope[SCOPE_KEY]
    return desk
