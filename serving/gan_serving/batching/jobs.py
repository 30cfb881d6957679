"""What a batch is made of: jobs, which are requests that wait for images, and slices of them."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from gan_export.artifact.first_line import first_line
from gan_serving.errors import GenerationError, NotReadyError, ServiceError

Latents: TypeAlias = NDArray[np.float32]
Labels: TypeAlias = NDArray[np.int64]
Images: TypeAlias = NDArray[np.uint8]


class Inputs(NamedTuple):
    """What images are made from."""

    latents: Latents  # (n, latent_dim)
    labels: Labels | None  # (n,); None for an unconditional generator


@dataclass(eq=False)
class Job:
    """Images that are asked for together, a whole request's or a part of a long one's, and how far they are."""

    latents: Latents  # (n, latent_dim)
    labels: Labels | None  # (n,)
    future: asyncio.Future[Images]
    queued_at: float  # seconds of the performance counter
    offset: int = 0  # images of the same request in the parts before
    after: Job | None = None  # the next part of the same request, which joins the queue when all of this one was taken
    images: Images | None = None  # (n, C, H, W), allocated with the first result
    taken: int = 0  # images handed to a batch
    finished: int = 0
    dropped: bool = False  # nobody waits for it, or its request has failed

    @property
    def waiting(self) -> int:
        return 0 if self.dropped else len(self.latents) - self.taken

    @property
    def abandoned(self) -> bool:
        return self.dropped or self.future.done()


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


def inputs_of(batch: list[Slice]) -> Inputs:
    """What the images of a batch are made from, which has labels for all of them or for none."""
    latents = np.concatenate([part.job.latents[part.start : part.stop] for part in batch])
    labels = [part.job.labels[part.start : part.stop] for part in batch if part.job.labels is not None]
    return Inputs(latents, np.concatenate(labels) if labels else None)


def deliver(batch: list[Slice], images: Images) -> None:
    """Hand over a batch's images; the last of a job's wake whoever waits for it."""
    edges = itertools.accumulate(map(len, batch), initial=0)
    for part, start in zip(batch, edges, strict=False):
        job = part.job
        if job.abandoned:
            continue
        if job.images is None:
            job.images = np.empty((len(job.latents), *images.shape[1:]), np.uint8)
        job.images[part.start : part.stop] = images[start : start + len(part)]
        job.finished += len(part)
        if job.finished == len(job.latents):
            job.future.set_result(job.images)


def fail(part: Slice, error: Exception) -> None:
    """Tell whoever waits for a slice of one image that it could not be generated."""
    job = part.job
    if not job.abandoned:
        where = job.offset + part.start
        job.future.set_exception(GenerationError(f"image {where} could not be generated: {first_line(error)}"))


def give_up(jobs: Iterable[Job], error: Exception | None = None) -> None:
    """Tell all who still wait for these jobs that they get no images.

    Args:
        jobs: whose images nobody will hand over.
        error: why those that were generated could not be; None: generation was stopped.
    """
    for job in jobs:
        if not job.future.done():
            job.future.set_exception(_loss(error))


def _loss(error: Exception | None) -> ServiceError:
    if error is None:
        return NotReadyError("generation was stopped; try again later")
    return GenerationError(f"the images could not be handed over: {first_line(error)}")
