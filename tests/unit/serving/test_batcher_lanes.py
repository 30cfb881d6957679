"""A session that runs several batches side by side."""

import asyncio

import pytest

from gan_serving.batcher import Batcher
from gan_serving.errors import GenerationError


@pytest.mark.parametrize(
    ("images", "batches"),
    [(64, [32, 32]), (33, [17, 16]), (17, [16, 1]), (16, [16]), (1, [1]), (128, [64, 64])],
)
def test_a_request_that_is_alone_is_shared_out_among_the_lanes(make_session, images: int, batches: list[int]):
    session = make_session(held=True)

    async def scenario(batcher: Batcher) -> None:
        task = asyncio.create_task(session.ask(batcher, 0, images))
        for _ in batches:
            await session.is_running()
        assert session.inside == len(batches)
        session.let_go()
        await task

    session.drive(scenario, lanes=2)
    assert sorted(map(len, session.batches), reverse=True) == batches


def test_an_idle_lane_runs_at_once_while_another_is_busy(make_session):
    session = make_session(held=True)

    async def scenario(batcher: Batcher) -> None:
        first = asyncio.create_task(session.ask(batcher, 0, 1))
        await session.is_running()
        second = asyncio.create_task(session.ask(batcher, 1, 1))
        await session.is_running()
        third = asyncio.create_task(session.ask(batcher, 2, 1))
        await asyncio.sleep(0)
        assert batcher.waiting == 1
        session.let_go()
        await asyncio.gather(first, second, third)

    session.drive(scenario, lanes=2)
    assert session.most_inside == 2


def test_whoever_asks_in_the_moment_a_lane_goes_to_sleep_is_heard(make_session):
    """The lane's task ends in the same turn of the loop in which its last request's caller asks again."""
    session = make_session()

    async def scenario(batcher: Batcher) -> None:
        for i in range(300):
            await session.ask(batcher, i, 1)

    session.drive(scenario, lanes=2)
    assert session.computed == list(range(300))


def test_only_the_image_at_fault_fails_in_whichever_lane(make_session):
    session = make_session(poison=frozenset({7, 40, 63}))

    async def scenario(batcher: Batcher) -> None:
        tasks = [asyncio.create_task(session.ask(batcher, i, 1)) for i in range(64)]
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert {i for i, result in enumerate(results) if isinstance(result, GenerationError)} == {7, 40, 63}
        assert sum(result is None for result in results) == 61

    session.drive(scenario, lanes=2)
