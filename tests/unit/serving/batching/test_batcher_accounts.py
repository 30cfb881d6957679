"""What the queue holds and counts: nothing of those who left, and every image once."""

import asyncio
import gc
import threading
import weakref

import numpy as np
import pytest

from gan_serving.batching.batcher import Batcher
from gan_serving.batching.jobs import Inputs, Slice, deliver
from gan_serving.batching.long_requests import stream
from gan_serving.batching.recorder import NullRecorder
from gan_serving.errors import GenerationError, NotReadyError


class Counts(NullRecorder):
    """What was told of images."""

    def __init__(self) -> None:
        self.generated = self.images_failed = self.images_dropped = 0

    def ran(self, images: int, seconds: float) -> None:  # noqa: ARG002
        self.generated += images

    def failed(self, images: int) -> None:
        self.images_failed += images

    def dropped(self, images: int) -> None:
        self.images_dropped += images


def counted(batcher: Batcher) -> Counts:
    batcher.recorder = batcher._queue.recorder = Counts()
    return batcher.recorder


def part(start: int, n: int = 64) -> Inputs:
    return Inputs(np.stack([np.arange(start, start + n), np.full(n, 0.5)], 1).astype(np.float32), None)


async def who_leaves(batcher: Batcher, start: int) -> weakref.ref[np.ndarray]:
    """The latents of a request that is cancelled while it waits."""
    latents = part(start).latents
    task = asyncio.create_task(batcher.submit(latents, None))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    return weakref.ref(latents)


def test_the_latents_of_who_left_do_not_stay_while_a_run_takes_long(make_session):
    session = make_session(held=True)

    async def scenario(batcher: Batcher) -> None:
        first = asyncio.create_task(session.ask(batcher, 0, 1))
        await session.is_running()
        left = [await who_leaves(batcher, 1000 * i) for i in range(20)]
        await asyncio.sleep(0)
        gc.collect()
        assert all(latents() is None for latents in left)
        session.let_go()
        await first

    session.drive(scenario)
    assert session.batches == [[0]]


def test_every_image_of_a_failed_request_has_one_outcome(make_session):
    session = make_session(poison=frozenset({0, 230}))

    async def scenario(batcher: Batcher) -> None:
        counts = counted(batcher)
        with pytest.raises(GenerationError):
            await session.ask(batcher, 0, 64)
        assert (counts.generated, counts.images_failed, counts.images_dropped) == (0, 1, 63)
        with pytest.raises(GenerationError):
            await session.ask(batcher, 200, 100)  # of which 36 wait while the others are bisected
        assert counts.images_failed == 2
        assert counts.generated + counts.images_failed + counts.images_dropped == 164

    session.drive(scenario)


@pytest.mark.parametrize("others", [0, 2])
def test_parts_behind_one_that_failed_wait_no_longer_however_slow_the_reader(make_session, others: int):
    session = make_session(poison=frozenset({100}), held=True)

    async def scenario(batcher: Batcher) -> None:
        counts = counted(batcher)
        parts = stream(batcher, [part(0), part(64), part(128), part(192), part(256)])
        reading = asyncio.create_task(anext(parts))
        await session.is_running()
        beside = [asyncio.create_task(session.ask(batcher, 10_000 * (i + 1), 64)) for i in range(others)]
        await asyncio.sleep(0)
        session.let_go()
        assert len(await reading) == 64
        await asyncio.gather(*beside)
        while batcher._awake:
            await asyncio.sleep(0)
        assert batcher.waiting == 0
        with pytest.raises(GenerationError, match="image 100 could not be generated"):
            await anext(parts)
        asked = counts.generated + counts.images_failed + counts.images_dropped
        assert asked in {(3 + others) * 64, (2 + others) * 64}, "nothing was asked for after the failure"

    session.drive(scenario, lanes=1)
    assert not {*range(192, 320)} & set(session.computed)


def test_a_part_that_could_not_be_handed_over_waits_no_longer(make_session, monkeypatch: pytest.MonkeyPatch):
    """Nor does the rest of its images, while its reader has yet to hear of it."""
    session = make_session(held=True)

    def fails(batch: list[Slice], images: np.ndarray) -> None:
        if batch[0].job.offset == 64:
            raise MemoryError("no room")
        deliver(batch, images)

    monkeypatch.setattr("gan_serving.batching.batcher.deliver", fails)

    async def scenario(batcher: Batcher) -> None:
        parts = stream(batcher, [part(0), part(64, 500)])
        reading = asyncio.create_task(anext(parts))
        await session.is_running()
        session.let_go()
        assert len(await reading) == 64
        while batcher._awake:
            await asyncio.sleep(0)
        assert batcher.waiting == 0
        with pytest.raises(GenerationError, match="the images could not be handed over: no room"):
            await anext(parts)

    session.drive(scenario)


def test_after_a_fault_in_a_lanes_thread_all_are_answered_and_nothing_is_counted_wrong(make_session):
    class FailsOnce(NullRecorder):
        failed_once = False

        def queued(self, waiting: int) -> None:  # noqa: ARG002
            if threading.current_thread() is not threading.main_thread() and not self.failed_once:
                self.failed_once = True
                raise MemoryError("once")

    session = make_session(held=True)

    async def scenario(batcher: Batcher) -> None:
        batcher._queue.recorder = recorder = FailsOnce()
        tasks = [asyncio.create_task(session.ask(batcher, 0, 1))]
        await session.is_running()
        tasks += [asyncio.create_task(session.ask(batcher, 1000, 64))]
        await asyncio.sleep(0)
        session.let_go()
        done, pending = await asyncio.wait(tasks, timeout=5)
        assert recorder.failed_once
        assert not pending
        assert {type(task.exception()) for task in done} == {NotReadyError}
        assert batcher.waiting == 0
        await asyncio.wait_for(session.ask(batcher, 9000, 1), 5)

    session.drive(scenario)
