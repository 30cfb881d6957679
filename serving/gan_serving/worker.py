"""What every handler works with: the state of this worker process."""

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

SCOPE_KEY = "gan_serving.worker"
"""Where the gateway puts the worker into a request's ASGI scope."""


@dataclass
class Worker:
    """A worker process: its generators, settings, limits and encoders."""

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


def worker_of(request: Request) -> Worker:
    """The worker that got this request."""
    worker: Worker = request.scope[SCOPE_KEY]
    return worker
