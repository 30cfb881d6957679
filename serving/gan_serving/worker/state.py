"""What every handler works with: the state of this worker process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final, TypeVar

from starlette.requests import Request

from gan_serving.errors import NotReadyError
from gan_serving.middleware.rate_limit import RateLimiter
from gan_serving.models.catalog import Catalog
from gan_serving.models.generator import Generator
from gan_serving.settings import Settings
from gan_serving.telemetry.metrics import Metrics

from .response_cache import ResponseCache

_T = TypeVar("_T")

_PARSERS: Final = 2  # threads; they hold the interpreter's lock most of the time, and more would gain nothing
SCOPE_KEY = "gan_serving.worker"
"""Where the gateway puts the worker into a request's ASGI scope."""


@dataclass
class Worker:
    """A worker process: its generators, settings, limits and threads."""

    settings: Settings
    catalog: Catalog
    metrics: Metrics
    limiter: RateLimiter
    cache: ResponseCache = field(init=False)
    encoders: ThreadPoolExecutor = field(init=False)
    slow_encoders: ThreadPoolExecutor = field(init=False)  # for what takes seconds: nobody else waits behind it
    parsers: ThreadPoolExecutor = field(init=False)
    draining: bool = False  # told to stop: what was taken is finished, nothing new is

    def __post_init__(self) -> None:
        self.cache = ResponseCache(int(self.settings.cache_mib * 2**20))
        self.encoders = ThreadPoolExecutor(self.settings.encode_threads, thread_name_prefix="encode")
        self.slow_encoders = ThreadPoolExecutor(1, thread_name_prefix="encode-slow")
        self.parsers = ThreadPoolExecutor(_PARSERS, thread_name_prefix="parse")

    def drain(self) -> None:
        """Finish what was taken, and take nothing new."""
        self.draining = True

    def close(self) -> None:
        """Let the threads go; what they have begun is finished."""
        for pool in (self.encoders, self.slow_encoders, self.parsers):
            pool.shutdown(wait=False)

    def check_ready(self) -> None:
        """Raises NotReadyError where there is no generator to ask, or the service is on its way out."""
        if self.draining:
            raise NotReadyError("the service is shutting down; try another instance")
        if not len(self.catalog):
            raise NotReadyError("no generator is loaded; see the service's log")

    def admit(self, generator: Generator, caller: str, n: int) -> None:
        """Let a request for n images in, before anything is drawn or paid for in vain.

        Raises:
            RetryLaterError: the generator's queue has no room, or the caller had its share.
        """
        generator.batcher.admit(min(n, generator.batcher.max_batch))
        self.limiter.charge(caller, n)

    async def in_encoders(self, work: Callable[[], _T], *, slow: bool = False) -> _T:
        """Run `work` in the encoders' pool, so that the event loop stays free; in the one for what takes seconds if
        it is `slow`."""
        return await asyncio.get_running_loop().run_in_executor(self.slow_encoders if slow else self.encoders, work)

    async def in_parsers(self, work: Callable[[], _T]) -> _T:
        """Run `work` in the pool for long bodies."""
        return await asyncio.get_running_loop().run_in_executor(self.parsers, work)


def worker_of(request: Request) -> Worker:
    """The worker that got this request."""
    worker: Worker = request.scope[SCOPE_KEY]
    return worker
