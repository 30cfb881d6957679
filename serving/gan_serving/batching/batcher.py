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
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import partial
from typing import Final, TypeAlias

from gan_serving.errors import QueueFullError

from .admission import Admission
from .brief_runs import BriefRuns
from .failures import FailureLog
from .image_queue import ImageQueue
from .jobs import Images, Job, Labels, Latents, Slice, deliver, fail, give_up, inputs_of, split
from .lane import SOON, Lane, seconds_left
from .recorder import NullRecorder, Recorder

RunFn: TypeAlias = Callable[[Latents, "Labels | None"], Images]
Result: TypeAlias = "Images | Exception"

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
        in_loop: whether the event loop may compute, where one image takes it hardly any time; a GPU's others may delay.
        patience: seconds that a part of a long request is waited for.
    """

    run: RunFn
    max_batch: int
    capacity: int
    executor: Executor
    recorder: Recorder = field(default_factory=NullRecorder)
    lanes: int = 1
    name: str = ""
    in_loop: bool = True
    patience: float = 60.0
    _queue: ImageQueue = field(init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)  # of the queue: lanes take from it too
    _awake: set[Lane] = field(default_factory=set, init=False)  # changed in the loop only, and under the lock
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
        return await self.done(self.ask(latents, labels))

    def admit(self, n: int) -> None:
        """Whether there is room for n more images: to be asked before anything is made for them.

        Raises:
            QueueFullError: there is none.
        """
        self._admission.admit(n, self.waiting)

    def refusal(self) -> QueueFullError | None:
        """What to answer to a request that nobody has looked at yet; None: it may come in."""
        return self._admission.refusal(self.waiting)

    def ask(self, latents: Latents, labels: Labels | None, before: Job | None = None) -> Job:
        """Queue images, whether or not there is room; whoever asks must await `done`, or `drop` them.

        Args:
            latents: (n, latent_dim), already checked.
            labels: (n,), None for an unconditional generator.
            before: the part of the same request before these.
        """
        offset = before.offset + len(before.latents) if before else 0
        job = Job(latents, labels, asyncio.get_running_loop().create_future(), time.perf_counter(), offset)
        with self._lock:
            self._queue.add(job, before)
        self._wake()
        return job

    async def done(self, job: Job) -> Images:
        """The images that were asked for; raises as `submit`."""
        try:
            return await job.future
        except BaseException:
            self.drop(job)
            raise

    def drop(self, job: Job) -> None:
        """Take what is not yet computed out of the queue, also of the parts behind it in the same request."""
        with self._lock:
            self._queue.drop(job)

    def _wake(self) -> None:
        """Wake as many lanes as the waiting images are worth."""
        while len(self._awake) < self.lanes:
            with self._lock:
                if self.waiting <= self._idle() * _SHARE:  # nothing, or those about to take a batch have enough
                    return
                if seconds_left(self._awake, self.waiting, self._admission.seconds_for) < SOON:
                    self._look = self._look or asyncio.get_running_loop().call_later(2 * SOON, self._look_again)
                    return
                lane = Lane()
                lane.task = asyncio.create_task(self._work(lane))
                lane.task.add_done_callback(partial(self._end, lane))
                self._awake.add(lane)

    def _idle(self) -> int:
        """Lanes that are awake and have no batch. Whoever calls holds the lock."""
        return sum(not lane.batch for lane in self._awake)

    def _look_again(self) -> None:
        self._look = None
        self._wake()

    async def _work(self, lane: Lane) -> None:
        """Run batches until nothing waits; the first one starts without delay."""
        loop = asyncio.get_running_loop()
        while self._begin(lane):
            is_brief = self.in_loop and self._brief.expected(lane.images)
            if is_brief:
                result = self._run(lane.batch)
            else:
                result = await loop.run_in_executor(self.executor, self._compute, loop, lane)
            if isinstance(result, Exception):
                lane.began = 0.0
            await self._finish(lane.batch, result)
            if is_brief and self.waiting:
                await asyncio.sleep(0)  # where batches are of one image, the loop has other work beside them

    def _end(self, lane: Lane, task: asyncio.Task[None]) -> None:
        """A lane goes to sleep; if it was cancelled, or has failed, nobody is left to wait for it for ever."""
        error = None if task.cancelled() else task.exception()
        with self._lock:
            self._awake.discard(lane)
            lane.ended = True
            left = [part.job for part in lane.batch]
            if task.cancelled() or error is not None:
                left += self._queue.clear()
        if error is not None:  # no thread to be had, or a fault of this module
            self._failures.tell(error, "generation was stopped by a fault of the service")
        give_up(left)
        self._wake()  # for whoever asked since the lane has found nothing

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
        """Whether there is a batch for a lane whose last one is done; it has it then, and none otherwise."""
        with self._lock:
            lane.batch = []
            return self._take(lane)

    def _go_on(self, lane: Lane) -> bool:
        """Whether there is a whole batch for a lane that has just computed one; it has it then.

        For fewer images, the loop's next turn is worth waiting for, in which more will have come.
        """
        with self._lock:
            if lane.ended or self.waiting < self.max_batch:
                return False
            computed, lane.batch = lane.batch, []
            has_more = False
            try:
                has_more = self._take(lane)
            finally:
                if not has_more:
                    lane.batch += computed  # still the lane's to deliver, or to give up
            return has_more

    def _take(self, lane: Lane) -> bool:
        """Give a lane that is awake and has no batch its part of what waits; whether there was any.

        Whoever calls holds the lock.
        """
        fair = -(-self.waiting // self._idle())
        self._queue.take(min(self.max_batch, max(fair, _SHARE)), lane.batch)
        lane.begin()
        return bool(lane.batch)

    def _run(self, batch: list[Slice]) -> Result:
        began = time.perf_counter()
        try:
            latents, labels = inputs_of(batch)
            images = self.run(latents, labels)
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
        try:
            deliver(batch, images)
        except Exception as error:  # noqa: BLE001 - such as no memory for a job's images; nobody else may hear of it
            self._failures.tell(error, "images could not be handed over")
            lost = [part.job for part in batch if not part.job.abandoned]
            give_up(lost, error)
            for job in lost:
                self.drop(job)

    async def _finish(self, batch: list[Slice], result: Result) -> None:
        """Hand over the images of a batch; one that failed is bisected."""
        if not isinstance(result, Exception):
            self._deliver(batch, result)
        elif (total := sum(map(len, batch))) == 1:
            self._fail(batch[0], result)
        else:
            await self._bisect(batch, total // 2)

    def _fail(self, part: Slice, error: Exception) -> None:
        self.recorder.failed(1)
        self._failures.tell(error)
        fail(part, error)
        self.drop(part.job)

    async def _bisect(self, batch: list[Slice], middle: int) -> None:
        for half in split(batch, middle):
            wanted = [part for part in half if not part.job.abandoned]
            if lost := sum(map(len, half)) - sum(map(len, wanted)):
                self.recorder.dropped(lost)
            if wanted:
                result = await asyncio.get_running_loop().run_in_executor(self.executor, self._run, wanted)
                await self._finish(wanted, result)
