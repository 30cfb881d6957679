"""What a batch is made of: jobs, which are requests that wait for images, and slices of them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Latents: TypeAlias = NDArray[np.float32]
Labels: TypeAlias = NDArray[np.int64]
Images: TypeAlias = NDArray[np.uint8]


@dataclass
class Job:
    """One request's images, and how far they are."""

    latents: Latents  # (n, latent_dim)
    labels: Labels | None  # (n,)
    future: asyncio.Future[Images]
    queued_at: float  # seconds of the performance counter
    offset: int = 0  # images of the same request in the parts before
    after: Job | None = None  # the next part of the same request, which joins the queue behind this one
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
class Slice:
    """Images `start` to `stop` of a job, as a part of one batch."""

    job: Job
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start

    def halves(self, left: int) -> tuple[Slice, Slice]:
        middle = self.start + left
        return Slice(self.job, self.start, middle), Slice(self.job, middle, self.stop)


def split(batch: list[Slice], count: int) -> tuple[list[Slice], list[Slice]]:
    """The first `count` images of a batch, and the rest."""
    left: list[Slice] = []
    right: list[Slice] = []
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


def deliver(part: Slice, images: Images) -> None:
    """Hand over a slice's images; the last of a job's wake whoever waits for it."""
    job = part.job
    if job.abandoned:
        return
    if job.images is None:
        job.images = np.empty((len(job.latents), *images.shape[1:]), np.uint8)
    job.images[part.start : part.stop] = images
    job.finished += len(part)
    if job.finished == len(job.latents):
        job.future.set_result(job.images)
