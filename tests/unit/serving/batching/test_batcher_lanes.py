"""A session that runs several batches side by side."""

import asyncio
import time

import numpy as np
import pytest

from gan_serving.batching.batcher import Batcher
from gan_serving.errors import GenerationError

PATIENCE = 20.0  # seconds, for what must happen
A_WHILE = 0.1  # seconds, for what must not


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


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> float:
    """Seconds that the lane which computes is left alone with little work: enough for a busy machine."""
    for module in ("lane", "batcher"):
        monkeypatch.setattr(f"gan_serving.batching.{module}.SOON", 0.3)
    return 0.3


async def until_it_is_known_to_be_quick(session, batcher: Batcher, seconds: float) -> None:
    for start in range(100):
        session.let_go(1)
        await session.ask(batcher, start, 1)
        await session.is_running()
        if batcher._admission.seconds_for(2) < seconds:
            return


@pytest.mark.usefixtures("patient")
def test_little_work_is_left_to_the_lane_that_computes_unless_that_hangs(make_session):
    session = make_session(held=True)

    async def scenario(batcher: Batcher) -> None:
        await until_it_is_known_to_be_quick(session, batcher, 0.3)
        first = asyncio.create_task(session.ask(batcher, 1000, 1))
        await session.is_running()
        second = asyncio.create_task(session.ask(batcher, 1001, 1))
        await asyncio.sleep(A_WHILE)
        assert (session.inside, batcher.waiting) == (1, 1), "no other lane was woken for it"
        await session.is_running()
        assert session.inside == 2, "the first one takes longer than it should"
        session.let_go()
        await asyncio.gather(first, second)

    session.drive(scenario, lanes=2)


@pytest.mark.usefixtures("patient")
def test_much_work_is_not_left_to_the_lane_that_computes(make_session):
    session = make_session(held=True)

    async def scenario(batcher: Batcher) -> None:
        await until_it_is_known_to_be_quick(session, batcher, 0.3)
        batcher._admission.worked(1, 100.0)  # from now on an image is known to be slow
        first = asyncio.create_task(session.ask(batcher, 1000, 1))
        await session.is_running()
        second = asyncio.create_task(session.ask(batcher, 1001, 1))
        await session.is_running()
        assert session.inside == 2
        session.let_go()
        await asyncio.gather(first, second)

    session.drive(scenario, lanes=2)


def test_images_wait_for_no_lane_that_looks_for_the_one_at_fault(make_session, patient: float):
    session = make_session(poison=frozenset({7}), held=True)

    async def scenario(batcher: Batcher) -> None:
        await until_it_is_known_to_be_quick(session, batcher, patient)
        guilty = [asyncio.create_task(session.ask(batcher, 1000 * i + 7, 1)) for i in range(2)]
        await session.is_running()
        session.let_go(1)  # it fails, and each of its images is tried alone
        await session.is_running()
        other = asyncio.create_task(session.ask(batcher, 500, 1))
        await asyncio.wait_for(session.is_running(), patient)  # and not only when it is looked at again
        assert session.inside == 2
        session.let_go()
        results = await asyncio.gather(*guilty, other, return_exceptions=True)
        assert [type(result) for result in results] == [GenerationError, type(None), type(None)]

    session.drive(scenario, lanes=2)


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


def wait_in_the_loop(session, batches: int) -> None:
    """Let nothing else happen in the event loop until so many batches have begun."""
    end = time.monotonic() + PATIENCE
    while len(session.batches) < batches:
        assert time.monotonic() < end, f"after {PATIENCE} s {len(session.batches)} of {batches} batches have begun"
        time.sleep(0.001)


@pytest.mark.parametrize("lanes", [1, 2])
def test_while_whole_batches_wait_lanes_need_no_event_loop(make_session, lanes: int):
    session = make_session(held=True)

    async def scenario(batcher: Batcher) -> None:
        first = [asyncio.create_task(session.ask(batcher, i, 1)) for i in range(lanes * 17)]
        for _ in range(lanes):
            await session.is_running()
        begun, left = len(session.batches), batcher.waiting
        rest = [asyncio.create_task(session.ask(batcher, 1000 + 64 * i, 64)) for i in range(5)]
        await asyncio.sleep(0)
        assert batcher.waiting == left + 5 * 64
        session.let_go()
        wait_in_the_loop(session, begun + (left + 5 * 64) // 64)
        time.sleep(A_WHILE)
        assert batcher.waiting == (left + 5 * 64) % 64, "fewer wait for the loop's next turn, and others with them"
        await asyncio.gather(*first, *rest)

    session.drive(scenario, lanes=lanes)


def test_an_image_that_fails_in_a_batch_the_loop_did_not_hand_over_fails_alone(make_session):
    session = make_session(poison=frozenset({1070}), held=True)

    async def scenario(batcher: Batcher) -> None:
        first = asyncio.create_task(session.ask(batcher, 0, 1))
        await session.is_running()
        rest = [asyncio.create_task(session.ask(batcher, 1000 + i, 1)) for i in range(256)]
        await asyncio.sleep(0)
        session.let_go()
        wait_in_the_loop(session, 3)
        time.sleep(A_WHILE)
        assert len(session.batches) == 3, "it was to be halved before the queue goes on"
        results = await asyncio.gather(first, *rest, return_exceptions=True)
        assert [i for i, result in enumerate(results) if result is not None] == [71]
        assert isinstance(results[71], GenerationError)

    session.drive(scenario)


def test_one_image_is_in_the_next_batch_that_a_lane_takes_itself(make_session):
    session = make_session(held=True)

    async def scenario(batcher: Batcher) -> None:
        large = [asyncio.create_task(session.ask(batcher, 1000 * i, 512)) for i in (1, 2)]
        await session.is_running()
        small = asyncio.create_task(session.ask(batcher, 0, 1))
        await asyncio.sleep(0)
        session.let_go(1)
        wait_in_the_loop(session, 2)
        assert 0 in session.batches[1]
        session.let_go(1)
        await small
        assert not any(task.done() for task in large)
        session.let_go()
        await asyncio.gather(*large)

    session.drive(scenario)


def test_images_that_lack_the_memory_to_be_put_together_fail_and_nobody_waits_for_ever(make_session, monkeypatch):
    session = make_session(held=True)
    concatenate = np.concatenate

    def fails(arrays: list[np.ndarray]) -> np.ndarray:
        if any(array.flat[0] == 1000 for array in arrays):
            raise MemoryError("no room")
        return concatenate(arrays)

    async def scenario(batcher: Batcher) -> None:
        first = asyncio.create_task(session.ask(batcher, 0, 1))
        await session.is_running()
        rest = [asyncio.create_task(session.ask(batcher, 500 * i, 64)) for i in (1, 2)]
        await asyncio.sleep(0)
        monkeypatch.setattr(np, "concatenate", fails)
        session.let_go()
        results = await asyncio.gather(first, *rest, return_exceptions=True)
        assert [type(result) for result in results] == [type(None), type(None), GenerationError]
        assert "image 0 could not be generated: no room" in str(results[2])

    session.drive(scenario)
