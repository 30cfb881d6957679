"""Callers who leave while their images are computed or wait, and what it costs the others: nothing."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest

from gan_serving.batching.batcher import Batcher
from gan_serving.batching.jobs import Inputs
from gan_serving.batching.long_requests import stream
from gan_serving.errors import GenerationError, NotReadyError, QueueFullError

A_WHILE = 0.1  # seconds, for what must not happen


def in_parts(batcher: Batcher, images: int, size: int = 64) -> AsyncIterator[np.ndarray]:
    """A long request in parts of so many."""
    rows = np.stack([np.arange(images), np.full(images, 0.5)], 1).astype(np.float32)
    return stream(batcher, (Inputs(rows[i : i + size], None) for i in range(0, images, size)))


async def until_waiting(batcher: Batcher, images: int) -> None:
    while batcher.waiting != images:
        await asyncio.sleep(0)


def test_who_leaves_while_a_batch_is_computed_takes_no_images_from_the_others_in_it(make_session):
    session = make_session(held=True)

    async def scenario(batcher: Batcher) -> None:
        tasks = [asyncio.create_task(session.ask(batcher, 2 * i, 2)) for i in range(4)]
        await session.is_running()
        tasks[1].cancel()
        session.let_go()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(result) for result in results] == [type(None), asyncio.CancelledError, type(None), type(None)]

    session.drive(scenario)
    assert session.batches == [list(range(8))]


def test_who_leaves_before_its_image_fails_takes_nobody_with_it(make_session):
    session = make_session(poison=frozenset({0}), held=True)

    async def scenario(batcher: Batcher) -> None:
        guilty = asyncio.create_task(session.ask(batcher, 0, 1))
        await session.is_running()
        others = [asyncio.create_task(session.ask(batcher, 10 * i, 2)) for i in (1, 2, 3)]
        await until_waiting(batcher, 6)
        guilty.cancel()
        session.let_go()
        assert await asyncio.gather(*others) == [None] * 3
        assert guilty.cancelled()

    session.drive(scenario)


def test_a_long_request_that_was_let_in_is_not_refused_half_way(make_session):
    session = make_session(held=True)

    async def scenario(batcher: Batcher) -> None:
        parts = in_parts(batcher, 256)
        first = asyncio.create_task(anext(parts))
        await session.is_running()
        session.let_go(1)
        images = [await first]
        await session.is_running()  # the second part is computed, and the next ones will be queued behind another's
        other = asyncio.create_task(session.ask(batcher, 1000, 64))
        await until_waiting(batcher, 64)
        second = asyncio.create_task(anext(parts))
        await asyncio.sleep(0)
        session.let_go()
        images += [await second, *[each async for each in parts]]
        rows = np.stack([np.arange(256), np.full(256, 0.5)], 1)
        assert np.array_equal(np.concatenate(images), session.draw(rows, None))
        await other

    session.drive(scenario, capacity=100)


def test_a_long_request_is_refused_with_its_first_part_where_there_is_no_room(make_session):
    session = make_session(held=True)

    async def scenario(batcher: Batcher) -> None:
        others = [asyncio.create_task(session.ask(batcher, 0, 1))]
        await session.is_running()
        others += [asyncio.create_task(session.ask(batcher, 1000, 64))]
        await until_waiting(batcher, 64)
        with pytest.raises(QueueFullError):
            await anext(in_parts(batcher, 256))
        assert batcher.waiting == 64
        session.let_go()
        await asyncio.gather(*others)

    session.drive(scenario, capacity=100)


def test_a_reader_who_leaves_a_long_request_takes_all_its_parts_out_of_the_queue_once(make_session):
    session = make_session(held=True)

    async def scenario(batcher: Batcher) -> None:
        first = asyncio.create_task(session.ask(batcher, 5000, 1))
        await session.is_running()
        reader = asyncio.create_task(anext(in_parts(batcher, 256)))
        await until_waiting(batcher, 128)
        reader.cancel()
        await asyncio.gather(reader, return_exceptions=True)
        assert batcher.waiting == 0
        session.let_go()
        await first

    session.drive(scenario)
    assert session.batches == [[5000]]


def test_parts_that_fail_while_another_is_used_are_told_of_once(make_session, caplog: pytest.LogCaptureFixture):
    """`drive` looks for exceptions that nobody took notice of, and which a log would keep alive."""
    caplog.set_level(logging.CRITICAL, "bentoml.ganworks")
    session = make_session(poison=frozenset({2, 4}))

    async def scenario(batcher: Batcher) -> None:
        before = asyncio.all_tasks()
        parts = in_parts(batcher, 12, size=2)
        assert len(await anext(parts)) == 2
        while asyncio.all_tasks() - before:
            await asyncio.sleep(0)
        with pytest.raises(GenerationError, match="image 2 could not be generated"):
            await anext(parts)

    session.drive(scenario, lanes=2)


async def cancel_the_only_lane(session: Any, batcher: Batcher) -> None:
    """While its thread computes an image, and goes on with it."""
    before = asyncio.all_tasks()
    first = asyncio.create_task(session.ask(batcher, 0, 1))
    await session.is_running()
    (lane,) = asyncio.all_tasks() - before - {first}
    lane.cancel()
    with pytest.raises(NotReadyError):
        await first


def test_a_thread_whose_lane_was_cancelled_takes_no_batch_that_nobody_would_hear_of(make_session):
    session = make_session(held=True)

    async def scenario(batcher: Batcher) -> None:
        await cancel_the_only_lane(session, batcher)
        later = [asyncio.create_task(session.ask(batcher, 1000 * i, 64)) for i in (1, 2, 3)]
        await until_waiting(batcher, 2 * 64)  # for the only thread, which still computes
        session.let_go()
        assert await asyncio.gather(*later) == [None] * 3

    session.drive(scenario)


def test_a_thread_whose_lane_was_cancelled_leaves_a_whole_batch_to_the_lane_that_wakes_for_it(make_session):
    session = make_session(held=True)

    async def scenario(batcher: Batcher) -> None:
        await cancel_the_only_lane(session, batcher)
        later = batcher.ask(np.zeros((64, 2), np.float32), None)  # another lane is awake, and has not begun
        session.let_go()
        time.sleep(A_WHILE)  # in the loop, in which nothing else can happen
        assert batcher.waiting == 64
        assert len(await batcher.done(later)) == 64

    session.drive(scenario)


@pytest.mark.parametrize("lanes", [1, 2])
def test_fewer_images_than_a_batch_wait_for_the_event_loop_and_those_that_come_in_it(make_session, lanes: int):
    session = make_session(held=True)

    async def scenario(batcher: Batcher) -> None:
        first = [asyncio.create_task(session.ask(batcher, 100 * i, 17)) for i in range(lanes)]
        for _ in range(lanes):
            await session.is_running()
        rest = [asyncio.create_task(session.ask(batcher, 1000, 64)), asyncio.create_task(session.ask(batcher, 2000, 5))]
        await until_waiting(batcher, 69)
        session.let_go()
        time.sleep(A_WHILE)  # in the loop, in which nothing else can happen
        assert batcher.waiting == 5
        rest += [asyncio.create_task(session.ask(batcher, 3000, 5))]
        await asyncio.gather(*first, *rest)

    session.drive(scenario, lanes=lanes)
