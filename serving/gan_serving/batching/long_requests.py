"""A request of more images than a batch has goes through the queue part by part."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Iterable
from typing import Final

from gan_serving.errors import DeadlineError
from gan_serving.process.deadline import Deadline

from .batcher import Batcher
from .jobs import Images, Inputs, Job

_AHEAD: Final = 1  # parts of one request that are in the queue, beside one in each lane


async def stream(batcher: Batcher, parts: Iterable[Inputs]) -> AsyncGenerator[Images, None]:
    """Generate images part by part: while one part is used, the next ones are computed.

    Memory is bounded by the parts, whatever their number, and a slow reader holds nobody up. Ending the iteration early
    takes what is not yet computed out of the queue.

    Args:
        batcher: of the generator.
        parts: latents and labels as for `Batcher.submit`; drawn from the iterable when their turn comes.

    Raises:
        DeadlineError: somebody has waited for a part for the batcher's `patience`.
        ServiceError: as `Batcher.submit`; QueueFullError with the first part only.
    """
    coming = iter(parts)
    running: deque[Job] = deque()
    try:
        while True:
            while len(running) < _AHEAD + batcher.lanes and not (running and running[-1].dropped):
                if (part := next(coming, None)) is None:
                    break
                if not running:
                    batcher.admit(len(part.latents))
                running.append(batcher.ask(*part, before=running[-1] if running else None))
                await asyncio.sleep(0)  # to draw for all of many lanes takes longer than a turn of the loop should
            if not running:
                return
            yield await _done(batcher, running[0])
            running.popleft()
    finally:
        for job in running:
            job.future.cancel()  # also of one that failed: nobody asks for its exception any more
            batcher.drop(job)


async def _done(batcher: Batcher, job: Job) -> Images:
    try:
        with Deadline(batcher.patience):
            return await batcher.done(job)
    except TimeoutError:
        raise DeadlineError(
            f"image {job.offset} was not ready within {batcher.patience:g} s; ask for fewer images or try again later"
        ) from None
