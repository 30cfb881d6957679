"""Images from many requests -> one run of a session.

The unit is the image. An idle session runs at once; while it is busy, images gather up to the maximum. Each batch
takes its images from all waiting requests in turn, so that one image is not behind five hundred. A run that fails is
bisected, so that only the image that causes it fails. What nobody waits for any more is dropped uncomputed.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from .errors import GenerationError, NotReadyError, QueueFullError

Latents: TypeAlias = NDArray[np.float32]
Labels: TypeAlias = NDArray[np.int64]
Images: TypeAlias = NDArray[np.uint8]
RunFn: TypeAlias = Callable[[Latents, "Labels | None"], Images]

_RATE_MEMORY = 0.8  # share of the old estimate that a new measurement leaves


@dataclass
class _Job:
    """One request's images, and how far they are."""

    latents: Latents  # (n, latent_dim)
    labels: Labels | None  # (n,)
    future: asyncio.Future[Images]
    images: Images | None = None  # (n, C, H, W), allocated with the first result
    taken: int = 0  # images handed to a batch
    finished: int = 0

    @property
    def waiting(self) -> int:
        return len(self.latents) - self.taken

    @property
    def abandoned(self) -> bool:
        return self.future.done()


@dataclass(frozen=True)
class _Slice:
    """Images `start` to `stop` of a job, as a part of one batch."""

    job: _Job
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start

    def halves(self, left: int) -> tuple[_Slice, _Slice]:
        middle = self.start + left
        return _Slice(self.job, self.start, middle), _Slice(self.job, middle, self.stop)


@dataclass
class Batcher:
    """The queue in front of one session.

    Args:
        run: computes a batch; called in `executor`, one call at a time.
        max_batch: images in a batch at most.
        capacity: images that may wait at most.
        executor: where `run` works, so that the event loop stays free.
    """

    run: RunFn
    max_batch: int
    capacity: int
    executor: Executor
    _jobs: deque[_Job] = field(default_factory=deque, init=False)
    _waiting: int = field(default=0, init=False)
    _worker: asyncio.Task[None] | None = field(default=None, init=False)
    _seconds_per_image: float = field(default=0.0, init=False)

    @property
    def waiting(self) -> int:
        """Images that are queued and not yet in a batch."""
        return self._waiting

    async def submit(self, latents: Latents, labels: Labels | None) -> Images:
        """Generate n images, in order; cancelling the call takes what is not yet computed out of the queue.

        Args:
            latents: (n, latent_dim), already checked.
            labels: (n,), None for an unconditional generator.

        Returns:
            uint8 (n, C, H, W).

        Raises:
            QueueFullError: n more images would not fit into the queue.
            GenerationError: the session failed on one of these images.
            NotReadyError: the worker was cancelled, which happens when the service goes down.
        """
        n, waiting = len(latents), self.waiting
        if waiting and waiting + n > self.capacity:
            raise QueueFullError(
                f"{waiting} images are waiting and {n} more would exceed the queue's {self.capacity}; try again later",
                retry_after=waiting * self._seconds_per_image,
            )
        job = _Job(latents, labels, asyncio.get_running_loop().create_future())
        self._jobs.append(job)
        self._waiting += n
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())
        try:
            return await job.future
        finally:
            self._waiting -= job.waiting
            job.taken = n

    async def _work(self) -> None:
        """Run batches until nothing waits; the first one starts without delay."""
        batch: list[_Slice] = []
        try:
            while batch := self._take():
                began = time.perf_counter()
                await self._compute(batch)
                measured = (time.perf_counter() - began) / sum(map(len, batch))
                old = self._seconds_per_image or measured
                self._seconds_per_image = _RATE_MEMORY * old + (1 - _RATE_MEMORY) * measured
        finally:
            # Something is left only after a cancellation or a fault of this module; nobody may wait for it for ever.
            for job in [*(part.job for part in batch), *self._jobs]:
                if not job.abandoned:
                    job.future.set_exception(NotReadyError("generation was stopped; try again later"))
            self._jobs.clear()

    def _take(self) -> list[_Slice]:
        """The next batch: as many images from each waiting job as there is room for, in turn."""
        room, batch = self.max_batch, []
        while room and self._jobs:
            share = max(1, room // len(self._jobs))
            for _ in range(len(self._jobs)):
                job = self._jobs.popleft()
                if job.abandoned or not job.waiting:
                    continue
                count = min(share, job.waiting, room)
                batch.append(_Slice(job, job.taken, job.taken + count))
                job.taken += count
                self._waiting -= count
                room -= count
                if job.waiting:
                    self._jobs.append(job)
                if not room:
                    break
        return batch

    async def _compute(self, batch: list[_Slice]) -> None:
        batch = [part for part in batch if not part.job.abandoned]
        if not batch:
            return
        labels = [part.job.labels[part.start : part.stop] for part in batch if part.job.labels is not None]
        latents = np.concatenate([part.job.latents[part.start : part.stop] for part in batch])
        loop = asyncio.get_running_loop()
        try:
            images = await loop.run_in_executor(
                self.executor, self.run, latents, np.concatenate(labels) if labels else None
            )
            if len(images) != len(latents):
                raise ValueError(f"the generator gave {len(images)} images for {len(latents)} latents")
        except Exception as error:  # noqa: BLE001 - whatever the session raises is this image's fault or is bisected
            await self._bisect(batch, error)
            return
        edges = itertools.accumulate(map(len, batch), initial=0)
        for part, start in zip(batch, edges, strict=False):
            _deliver(part, images[start : start + len(part)])

    async def _bisect(self, batch: list[_Slice], error: Exception) -> None:
        total = sum(map(len, batch))
        if total == 1:
            (guilty,) = batch
            if not guilty.job.abandoned:
                reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
                guilty.job.future.set_exception(
                    GenerationError(f"image {guilty.start} could not be generated: {reason}")
                )
            return
        left, right = _split(batch, total // 2)
        await self._compute(left)
        await self._compute(right)


def _split(batch: list[_Slice], count: int) -> tuple[list[_Slice], list[_Slice]]:
    """The first `count` images of a batch, and the rest."""
    left: list[_Slice] = []
    right: list[_Slice] = []
    for part in batch:
        if len(part) <= count:
            left.append(part)
            count -= len(part)
        elif count:
            first, second = part.halves(count)
            left.append(first)
            right.append(second)
            count = 0
        else:
            right.append(part)
    return left, right


def _deliver(part: _Slice, images: Images) -> None:
    job = part.job
    if job.abandoned:
        return
    if job.images is None:
        job.images = np.empty((len(job.latents), *images.shape[1:]), np.uint8)
    job.images[part.start : part.stop] = images
    job.finished += len(part)
    if job.finished == len(job.latents):
        job.future.set_result(job.images)
