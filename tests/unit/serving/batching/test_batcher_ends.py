"""Nobody waits for ever, whatever the session, its thread or the executor does."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from gan_serving.batching.batcher import Batcher
from gan_serving.batching.jobs import Slice, deliver
from gan_serving.batching.recorder import NullRecorder
from gan_serving.errors import NotReadyError

PATIENCE = 30.0  # seconds


def test_nobody_waits_for_ever_when_the_executor_goes_away(make_session):
    session = make_session()

    async def scenario(batcher: Batcher) -> None:
        blocked, go_on = threading.Event(), threading.Event()
        batcher.executor.submit(lambda: (blocked.set(), go_on.wait(PATIENCE)))
        await asyncio.to_thread(blocked.wait, PATIENCE)
        tasks = [asyncio.create_task(session.ask(batcher, 100 * i, 100)) for i in range(3)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)  # the worker has handed its first batch to the executor
        batcher.executor.shutdown(wait=False, cancel_futures=True)
        results = await asyncio.gather(*tasks, return_exceptions=True)
        go_on.set()
        assert [type(result) for result in results] == [NotReadyError] * 3
        with pytest.raises(NotReadyError):
            await session.ask(batcher, 0, 1)

    session.drive(scenario)
    assert session.batches == []


def test_nobody_waits_for_ever_when_the_worker_is_cancelled(make_session):
    session = make_session(held=True)

    async def scenario(batcher: Batcher) -> None:
        tasks = [asyncio.create_task(session.ask(batcher, 0, 5))]
        await session.is_running()
        tasks += [asyncio.create_task(session.ask(batcher, 1000 * i, 100)) for i in (1, 2)]
        await asyncio.sleep(0)
        (lane,) = batcher._awake
        lane.task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(result) for result in results] == [NotReadyError] * 3
        session.let_go()
        await session.ask(batcher, 5000, 3)

    session.drive(scenario)


async def two_batches(session, batcher: Batcher) -> list[asyncio.Task[None]]:
    """Two requests, of which the lane's thread has gone on to the second without asking the event loop."""
    tasks = [asyncio.create_task(session.ask(batcher, 0, 1))]
    await session.is_running()
    tasks += [asyncio.create_task(session.ask(batcher, 1000 * i, 64)) for i in (1, 2)]
    await asyncio.sleep(0)
    session.let_go(1)
    await session.is_running()
    return tasks


def test_nobody_waits_for_ever_when_the_worker_is_cancelled_in_a_batch_its_thread_took(make_session):
    session = make_session(held=True)

    async def scenario(batcher: Batcher) -> None:
        tasks = await two_batches(session, batcher)
        (lane,) = batcher._awake
        lane.task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(result) for result in results] == [type(None), NotReadyError, NotReadyError]
        session.let_go()
        await session.ask(batcher, 5000, 3)

    session.drive(scenario)


def test_nobody_waits_for_ever_when_what_was_done_can_not_be_recorded(make_session):
    class Broken(NullRecorder):
        def ran(self, images: int, seconds: float) -> None:  # noqa: ARG002
            if images == 64:
                raise RuntimeError("no room for a series")

    session = make_session(held=True)

    async def scenario(batcher: Batcher) -> None:
        batcher.recorder = Broken()
        tasks = await two_batches(session, batcher)
        session.let_go()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(result) for result in results] == [type(None), NotReadyError, NotReadyError]
        await session.ask(batcher, 5000, 3)

    session.drive(scenario)


def test_nobody_waits_for_ever_when_images_can_not_be_handed_over(make_session, monkeypatch: pytest.MonkeyPatch):
    session = make_session(held=True)

    def fails(batch: list[Slice], images: np.ndarray) -> None:
        if batch[0].job.latents[0, 0] == 1000:
            raise MemoryError("no room")
        deliver(batch, images)

    async def scenario(batcher: Batcher) -> None:
        tasks = await two_batches(session, batcher)
        monkeypatch.setattr("gan_serving.batching.batcher.deliver", fails)
        session.let_go()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        told = "the images could not be handed over: no room"  # to both, which are in one batch
        assert [str(result) for result in results] == ["None", told, told]
        await session.ask(batcher, 5000, 3)

    session.drive(scenario)


def test_a_thread_that_can_not_be_started_costs_those_who_wait_and_nobody_else(make_session):
    """What an executor is given is in its queue before it starts a thread, and may be done all the same."""
    session = make_session(held=True)

    class OneThread(ThreadPoolExecutor):
        fails = False

        def _adjust_thread_count(self) -> None:
            if self.fails:
                raise RuntimeError("can't start new thread")
            super()._adjust_thread_count()

    async def scenario(batcher: Batcher) -> None:
        with OneThread(2) as executor:
            batcher.executor = executor
            first = asyncio.create_task(session.ask(batcher, 0, 1))
            await session.is_running()
            executor.fails = True
            second = asyncio.create_task(session.ask(batcher, 1000, 64))
            with pytest.raises(NotReadyError):
                await second
            later = [asyncio.create_task(session.ask(batcher, 2000 + 100 * i, 64)) for i in range(4)]
            session.let_go()
            results = await asyncio.gather(first, *later, return_exceptions=True)
            assert results[0] is None
            assert {type(result) for result in results} <= {type(None), NotReadyError}

    session.drive(scenario, lanes=2)
