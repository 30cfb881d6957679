"""The queue's limits, and that nobody waits for ever, whatever the session or its thread does."""

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from gan_serving.batching.batcher import Batcher
from gan_serving.batching.jobs import Slice, deliver
from gan_serving.batching.recorder import NullRecorder
from gan_serving.errors import GenerationError, NotReadyError, QueueFullError
from gan_serving.telemetry.metrics import metrics

PATIENCE = 30.0  # seconds
SECONDS_FOR_2000_LOOKS = 0.5  # at `waiting` with 20,000 jobs in the queue; 10 s if each look went through them


def test_the_queue_is_bounded_in_images(make_session):
    session = make_session(held=True)

    async def scenario(batcher: Batcher) -> None:
        began = time.perf_counter()
        session.let_go(1)
        await session.ask(batcher, 0, 4)
        seconds = time.perf_counter() - began
        first = asyncio.create_task(session.ask(batcher, 10, 64))
        await session.is_running()
        await session.is_running()
        second = asyncio.create_task(session.ask(batcher, 100, 90))
        await asyncio.sleep(0)
        with pytest.raises(QueueFullError, match=r"90 images are waiting and 11 more would exceed .* 100") as caught:
            await session.ask(batcher, 500, 11)
        assert 0 < caught.value.retry_after <= 90 * seconds
        assert int(caught.value.headers["Retry-After"]) >= 1
        third = asyncio.create_task(session.ask(batcher, 600, 10))  # exactly full
        await asyncio.sleep(0)
        with pytest.raises(QueueFullError):
            await session.ask(batcher, 700, 1)
        second.cancel()  # makes room at once
        await asyncio.gather(second, return_exceptions=True)
        fourth = asyncio.create_task(session.ask(batcher, 800, 90))
        session.let_go()
        await asyncio.gather(first, third, fourth)

    session.drive(scenario, capacity=100)
    assert not {500, 700} & set(session.computed)


def test_retry_after_follows_the_measured_throughput(make_session):
    """The estimate is that of the clock: half of the images waiting is half of the time."""
    session = make_session(held=True)

    async def scenario(batcher: Batcher) -> None:
        waits = []
        session.let_go(1)
        await session.ask(batcher, 0, 8)
        tasks = [asyncio.create_task(session.ask(batcher, 10, 1))]
        await session.is_running()
        await session.is_running()
        for _ in range(2):
            tasks.append(asyncio.create_task(session.ask(batcher, 1000, 40)))
            await asyncio.sleep(0)
            with pytest.raises(QueueFullError) as caught:
                await session.ask(batcher, 500, 100)
            waits.append(caught.value.retry_after)
        assert waits[1] == pytest.approx(2 * waits[0])
        session.let_go()
        await asyncio.gather(*tasks)

    session.drive(scenario, capacity=100)


def test_before_anything_was_measured_the_advice_is_a_second(make_session):
    session = make_session(held=True)

    async def scenario(batcher: Batcher) -> None:
        first = asyncio.create_task(session.ask(batcher, 0, 200))  # more than the capacity, but nothing else waits
        await session.is_running()
        with pytest.raises(QueueFullError) as caught:
            await session.ask(batcher, 500, 1)
        assert caught.value.headers == {"Retry-After": "1"}
        session.let_go()
        await first

    session.drive(scenario, capacity=100)


def test_once_full_it_takes_nothing_unseen_until_a_part_of_it_is_free(make_session):
    session = make_session(held=True)

    async def scenario(batcher: Batcher) -> None:
        first = asyncio.create_task(session.ask(batcher, 0, 1))
        await session.is_running()
        rest = [asyncio.create_task(session.ask(batcher, 10 * i, 10)) for i in range(1, 11)]
        await asyncio.sleep(0)
        assert batcher.waiting == 100
        assert batcher.refusal() is None, "it is full, and has refused nobody"
        with pytest.raises(QueueFullError):
            batcher.admit(1)
        refusal = batcher.refusal()
        assert refusal is not None
        assert refusal.message == "100 images are waiting and the queue of 100 was full; try again later"
        rest.pop().cancel()
        await asyncio.sleep(0.01)
        assert batcher.waiting == 90
        assert batcher.refusal() is None
        batcher.admit(10)
        session.let_go()
        await asyncio.gather(first, *rest)

    session.drive(scenario, capacity=100)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda images: images[:-1], "the generator gave 0 images for 1 latents"),
        (lambda images: np.repeat(images, 2, 0), "the generator gave 2 images for 1 latents"),
        (lambda _: None, "NoneType"),
    ],
)
def test_a_wrong_output_length_is_detected(make_session, spoil, reason):
    session = make_session()
    whole = session.run
    session.run = lambda latents, labels: spoil(whole(latents, labels))

    async def scenario(batcher: Batcher) -> None:
        results = await asyncio.gather(*(session.ask(batcher, i, 1) for i in range(5)), return_exceptions=True)
        assert all(isinstance(result, GenerationError) and reason in str(result) for result in results)

    session.drive(scenario)


def test_waiting_costs_the_same_with_a_long_queue(make_session):
    session = make_session(held=True)

    async def scenario(batcher: Batcher) -> None:
        tasks = [asyncio.create_task(session.ask(batcher, i, 1)) for i in range(20_000)]
        await session.is_running()
        began = time.process_time()
        assert {batcher.waiting for _ in range(2000)} == {20_000 - 64}
        assert time.process_time() - began < SECONDS_FOR_2000_LOOKS
        session.let_go()
        await asyncio.gather(*tasks)

    session.drive(scenario)


def test_the_waiting_images_of_an_old_and_a_new_version_are_added_up(make_session):
    session, series = make_session(held=True), metrics(alone=True)

    def shown() -> str:
        (line,) = (each for each in series.page()[0].decode().splitlines() if 'images{model="two versions"}' in each)
        return line.split()[-1]

    async def scenario(given: Batcher) -> None:
        old, new = (
            Batcher(session.run, given.max_batch, given.capacity, given.executor, series.model("two versions"))
            for _ in range(2)
        )
        tasks = [asyncio.create_task(session.ask(old, 0, 1))]
        await session.is_running()
        tasks += [asyncio.create_task(session.ask(new, 100, 64)), asyncio.create_task(session.ask(new, 200, 500))]
        tasks += [asyncio.create_task(session.ask(old, 1000, 20))]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert shown() == f"{float(old.waiting + new.waiting)}"
        session.let_go(1)
        await tasks[0]
        while old.waiting:
            await asyncio.sleep(0)
        assert shown() == f"{float(new.waiting)}" != "0.0", "the old one's end hides what the new one has"
        session.let_go()
        await asyncio.gather(*tasks)
        assert shown() == "0.0"

    session.drive(scenario, lanes=1)


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
