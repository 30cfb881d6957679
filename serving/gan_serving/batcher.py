"""Images from many requests -> one run of a session.

The unit is the image. An idle session runs at once; while it is busy, images gather up to the maximum. Each batch
takes its images from all waiting requests in turn, so that one image is not behind five hundred. A run that fails is
bisected, so that only the image that causes it fails. What nobody waits for any more is dropped uncomputed.

A session may run several batches side by side, in as many lanes. Images that are enough for several are shared out
among the idle lanes, so that a request which is alone has all of them; what takes less than a millisecond is left to
the lane that computes, if it has just begun. Requests live in the event loop, and so do the lanes, but for what takes
long: a lane computes in a thread, which takes its next batch itself while whole ones wait. One image that takes less
time than a thread's waking is computed in the loop (brief_runs.py).
"""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Final, TypeAlias, cast

import numpy as np

from .admission import Admission
from .brief_runs import BriefRuns
from .errors import GenerationError, NotReadyError, QueueFullError
from .failures import FailureLog
from .image_queue import ImageQueue
from .jobs import Images, Job, Labels, Latents, Slice, deliver, split
from .lane import SOON, Lane, seconds_left
from .recorder import NullRecorder, Recorder

RunFn: TypeAlias = Callable[[Latents, "Labels | None"], Images]
Result: TypeAlias = "Images | Exception"

_AHEAD: Final = 1  # parts of one long request that are in the queue, beside one in each lane
_SHARE: Final = 16  # images that are worth a lane of their own: fewer take longer to hand over than to compute


@dataclass
class Batcher:
    """The queue in front of one session.

    Args:
        run: computes a batch; called in `executor`, from as many threads at a time as there are lanes, or in the loop.
        max_batch: images in a batch at most.
        capacity: images that may wait at most.
        executor: where `run` works, so that the event loop stays free.
        recorder: is told what happens.
        lanes: batches that are computed side by side.
        name: of the generator, for the log.
    """

    run: RunFn
    max_batch: int
    capacity: int
    executor: Executor
    recorder: Recorder = field(default_factory=NullRecorder)
    lanes: int = 1
    name: str = ""
    _queue: ImageQueue = field(init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)  # of the queue: lanes take from it too
    _working: dict[asyncio.Task[None], Lane] = field(default_factory=dict, init=False)  # the lanes that are awake
    _computing: int = field(default=0, init=False)  # lanes that have a batch
    _admission: Admission = field(init=False)
    _brief: BriefRuns = field(default_factory=BriefRuns, init=False)
    _failures: FailureLog = field(init=False)
    _look: asyncio.TimerHandle | None = field(default=None, init=False)  # whether a lane should be woken after all

    def __post_init__(self) -> None:
        self._queue = ImageQueue(self.recorder)
        self._admission = Admission(self.capacity, self.lanes)
        self._failures = FailureLog(self.name)

    @property
    def waiting(self) -> int:
        """Images that are queued and not yet in a batch."""
        return self._queue.waiting

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
        self.admit(len(latents))
        return await self._done(self._ask(latents, labels))

    def admit(self, n: int) -> None:
        """Whether there is room for n more images: to be asked before anything is made for them.

        Raises:
            QueueFullError: there is none.
        """
        self._admission.admit(n, self.waiting)

    def refusal(self) -> QueueFullError | None:
        """What to answer to a request that nobody has looked at yet; None: it may come in."""
        return self._admission.refusal(self.waiting)

    def _ask(self, latents: Latents, labels: Labels | None, before: Job | None = None) -> Job:
        offset = before.offset + len(before.latents) if before else 0
        job = Job(latents, labels, asyncio.get_running_loop().create_future(), time.perf_counter(), offset)
        with self._lock:
            self._queue.add(job, before)
        self._wake()
        return job

    def _wake(self) -> None:
        """Wake as many lanes as the waiting images are worth."""
        while len(self._working) < self.lanes:
            with self._lock:
                coming, waiting = len(self._working) - self._computing, self.waiting
            if waiting <= coming * _SHARE:  # nothing, or lanes that are about to take their batch have enough
                return
            if seconds_left(self._working.values(), waiting, self._admission.seconds_for) < SOON:
                self._look = self._look or asyncio.get_running_loop().call_later(2 * SOON, self._look_again)
                return
            lane = Lane()
            task = asyncio.create_task(self._work(lane))
            self._working[task] = lane
            task.add_done_callback(self._asleep)

    def _look_again(self) -> None:
        self._look = None
        self._wake()

    def _asleep(self, task: asyncio.Task[None]) -> None:
        self._working.pop(task, None)

    async def _done(self, job: Job) -> Images:
        try:
            return await job.future
        finally:
            self._drop(job)

    def _drop(self, job: Job) -> None:
        with self._lock:
            self._queue.drop(job)

    async def stream(self, parts: Iterable[tuple[Latents, Labels | None]]) -> AsyncGenerator[Images, None]:
        """Generate a long request part by part: while one part is used, the next ones are computed.

        Memory is bounded by the parts, whatever their number, and a slow reader holds nobody up. Ending the iteration
        early takes what is not yet computed out of the queue.

        Args:
            parts: latents and labels as in `submit`; drawn from the iterable when their turn comes.

        Raises:
            As `submit`; QueueFullError with the first part only.
        """
        coming = iter(parts)
        running: deque[Job] = deque()
        try:
            while True:
                while len(running) < _AHEAD + self.lanes and (part := next(coming, None)) is not None:
                    if not running:
                        self.admit(len(part[0]))
                    running.append(self._ask(*part, before=running[-1] if running else None))
                if not running:
                    return
                yield await self._done(running[0])
                running.popleft()
        finally:
            for job in running:
                if not job.future.cancel() and not job.future.cancelled():
                    job.future.exception()  # heard: the part before it failed already
                self._drop(job)

    async def _work(self, lane: Lane) -> None:
        """Run batches until nothing waits; the first one starts without delay."""
        loop = asyncio.get_running_loop()
        try:
            while self._begin(lane):
                try:
                    if self._brief.expected(lane.images):
                        result = self._run(lane.batch)
                    else:
                        result = await loop.run_in_executor(self.executor, self._compute, loop, lane)
                    if isinstance(result, Exception):
                        lane.began = 0.0
                    await self._finish(lane.batch, result)
                finally:
                    with self._lock:
                        self._computing -= 1
        except Exception as error:  # noqa: BLE001 - no thread to be had, or a fault of this module: `_end` says no to all
            self._failures.tell(error)
        finally:
            self._asleep(cast("asyncio.Task[None]", asyncio.current_task()))  # now: who asks next wakes a lane
            self._end(lane)

    def _end(self, lane: Lane) -> None:
        """Let nobody wait for ever. Something is left only after a cancellation or a fault of this module."""
        with self._lock:
            lane.ended = True
            left = [*(part.job for part in lane.batch), *self._queue.clear()]
        _give_up([*left, *(job.after for job in left if job.after is not None)])

    def _compute(self, loop: asyncio.AbstractEventLoop, lane: Lane) -> Result:
        """Compute the lane's batch, and the next ones as long as whole ones wait; in a thread of the executor.

        Under overload a turn of the loop takes longer than a batch, and a lane that waits for it has nothing to do:
        under five times too much load, in requests of 64 images, 10,500 images/s became 14,000 (medians of 8 runs).

        Returns:
            What the last batch gave, which is the lane's now.
        """
        while True:
            batch = lane.batch
            result = self._run(batch)
            if isinstance(result, Exception) or not self._go_on(lane):
                return result
            loop.call_soon_threadsafe(self._deliver, batch, result)

    def _begin(self, lane: Lane) -> bool:
        """Whether there is a batch for a lane that has none; it has it then."""
        with self._lock:
            lane.begin(self._take())
            self._computing += bool(lane.batch)
            return bool(lane.batch)

    def _go_on(self, lane: Lane) -> bool:
        """Whether there is a whole batch for a lane that has just computed one; it has it then.

        For fewer images, the loop's next turn is worth waiting for, in which more will have come.
        """
        with self._lock:
            if lane.ended or self.waiting < self.max_batch:
                return False
            self._computing -= 1
            batch = self._take()
            self._computing += 1
            if batch:
                lane.begin(batch)
            return bool(batch)

    def _take(self) -> list[Slice]:
        """The part of what waits of one among the lanes that are awake and have no batch."""
        fair = -(-self.waiting // max(1, len(self._working) - self._computing))
        return self._queue.take(min(self.max_batch, max(fair, _SHARE)))

    def _run(self, batch: list[Slice]) -> Result:
        began = time.perf_counter()
        try:
            labels = [part.job.labels[part.start : part.stop] for part in batch if part.job.labels is not None]
            latents = np.concatenate([part.job.latents[part.start : part.stop] for part in batch])
            images = self.run(latents, np.concatenate(labels) if labels else None)
            if len(images) != len(latents):
                raise ValueError(f"the generator gave {len(images)} images for {len(latents)} latents")
        except Exception as error:  # noqa: BLE001 - whatever the session raises is this image's fault or is bisected
            return error
        seconds = time.perf_counter() - began
        self.recorder.ran(len(latents), seconds)
        self._admission.worked(len(latents), seconds)
        self._brief.ran(len(latents), seconds)
        return images

    def _deliver(self, batch: list[Slice], images: Images) -> None:
        edges = itertools.accumulate(map(len, batch), initial=0)
        try:
            for part, start in zip(batch, edges, strict=False):
                deliver(part, images[start : start + len(part)])
        except Exception as error:  # noqa: BLE001 - such as no memory for a job's images; nobody else may hear of it
            self._failures.tell(error)
            _give_up(part.job for part in batch)

    async def _finish(self, batch: list[Slice], result: Result) -> None:
        if isinstance(result, Exception):
            await self._bisect(batch, result)
        else:
            self._deliver(batch, result)

    async def _bisect(self, batch: list[Slice], error: Exception) -> None:
        total = sum(map(len, batch))
        if total == 1:
            (guilty,) = batch
            self.recorder.failed(1)
            self._failures.tell(error)
            if not guilty.job.abandoned:
                reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
                guilty.job.future.set_exception(
                    GenerationError(f"image {guilty.job.offset + guilty.start} could not be generated: {reason}")
                )
            return
        for half in split(batch, total // 2):
            if wanted := [part for part in half if not part.job.abandoned]:
                result = await asyncio.get_running_loop().run_in_executor(self.executor, self._run, wanted)
                await self._finish(wanted, result)


def _give_up(jobs: Iterable[Job]) -> None:
    for job in jobs:
        if not job.abandoned:
            job.future.set_exception(NotReadyError("generation was stopped; try again later"))
