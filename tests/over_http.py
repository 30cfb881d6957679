"""POST /generate and /interpolate as a real ASGI application, before a session whose images tell what they are of."""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
from guarding import guard_of
from starlette.routing import Router
from starlette.types import ASGIApp, Receive, Scope, Send

from gan_export.artifact import Manifest
from gan_serving.batching.batcher import Batcher
from gan_serving.endpoints import generate, interpolate
from gan_serving.middleware.rate_limit import RateLimiter
from gan_serving.settings import Settings
from gan_serving.telemetry.metrics import metrics
from gan_serving.worker.state import SCOPE_KEY, Worker

MAX_N = 100
PATIENCE = 30.0  # seconds


class OneModel:
    """A catalog of one generator around a given queue."""

    def __init__(self, manifest: Manifest, batcher: Batcher) -> None:
        self.generator = SimpleNamespace(manifest=manifest, batcher=batcher, digest="0" * 64, identity="1" * 64)

    def get(self, _name: str | None) -> SimpleNamespace:
        return self.generator

    @property
    def widest(self) -> int:
        return self.generator.manifest.latent.dim


class Toy:
    """A session whose images tell every latent and the label."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def run(self, latents: np.ndarray, labels: np.ndarray | None) -> np.ndarray:
        self.batches.append(len(latents))
        assert labels is not None
        images = latents.view(np.uint8).reshape(len(latents), 1, 8, 8).copy()  # 16 floats are 64 bytes
        images[:, 0, 0, 0] ^= labels.astype(np.uint8)
        return images


def of_worker(router: ASGIApp, worker: Worker) -> ASGIApp:
    """Routes that find their worker in the scope, where the service puts it."""

    async def front(scope: Scope, receive: Receive, send: Send) -> None:
        await router(scope | {SCOPE_KEY: worker}, receive, send)

    return front


def over_http(
    manifest: Manifest,
    scenario: Callable[[httpx.AsyncClient], Awaitable[None]],
    max_batch: int = 8,
    *,
    waiting: int = 0,
    **settings: Any,
) -> list[int]:
    """Run a scenario against both routes, behind so many images; the sizes of all batches."""
    toy = Toy()

    async def main(executor: ThreadPoolExecutor) -> None:
        found = Settings(max_n=MAX_N, max_batch=max_batch, **settings)
        batcher = Batcher(toy.run, max_batch, 1000, executor)
        batcher._queue.waiting = waiting
        limiter = RateLimiter.from_settings(found, lambda: 0.0)
        worker = Worker(found, OneModel(manifest, batcher), metrics(alone=True), limiter)
        router = Router([*generate.ROUTES, *interpolate.ROUTES])

        transport = httpx.ASGITransport(guard_of(of_worker(router, worker), max_body=100_000, timeout=PATIENCE))
        try:
            async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
                await asyncio.wait_for(scenario(client), PATIENCE)
        finally:
            worker.close()

    with ThreadPoolExecutor(1) as executor:
        asyncio.run(main(executor))
    return toy.batches
