"""The queue's limits, and what is told of it."""

import asyncio
import time

import numpy as np
import pytest

from gan_serving.batching.batcher import Batcher
from gan_serving.errors import GenerationError, QueueFullError
from gan_serving.telemetry.metrics import metrics

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
