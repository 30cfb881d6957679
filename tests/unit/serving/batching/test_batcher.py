"""The queue in front of a session, on a real event loop with a real thread: order, fairness, isolation."""

import asyncio
import random

import numpy as np
import pytest

from gan_serving.batching.batcher import Batcher
from gan_serving.batching.failures import QUIET_SECONDS, FailureLog
from gan_serving.batching.jobs import Inputs
from gan_serving.batching.long_requests import stream
from gan_serving.errors import GenerationError


@pytest.mark.parametrize("lanes", [1, 2, 3])
@pytest.mark.parametrize("max_batch", [1, 7, 64])
@pytest.mark.parametrize("conditional", [False, True])
def test_many_concurrent_requests_get_their_own_images_in_order(
    make_session, max_batch: int, conditional: bool, lanes: int
):
    rng = random.Random(max_batch)
    sizes = [rng.choice([1, 1, 1, 2, 5, 63, 64, 65, 200]) for _ in range(120)]
    starts = np.cumsum([0, *sizes]).tolist()
    session = make_session()

    async def request(batcher: Batcher, i: int) -> None:
        for _ in range(rng.randrange(40)):
            await asyncio.sleep(0)
        await session.ask(batcher, starts[i], sizes[i], i % 7 if conditional else None)

    async def scenario(batcher: Batcher) -> None:
        await asyncio.gather(*(request(batcher, i) for i in range(len(sizes))))

    session.drive(scenario, max_batch=max_batch, lanes=lanes)
    assert sorted(session.computed) == list(range(sum(sizes)))  # every image once


def test_an_idle_session_runs_at_once_and_gathers_while_it_is_busy(make_session):
    session = make_session(held=True)

    async def scenario(batcher: Batcher) -> None:
        first = asyncio.create_task(session.ask(batcher, 0, 1))
        await session.is_running()
        assert batcher.waiting == 0
        others = [asyncio.create_task(session.ask(batcher, 10 * i, i)) for i in range(1, 12)]
        await asyncio.sleep(0)
        assert batcher.waiting == sum(range(1, 12)) == 66
        session.let_go()
        await asyncio.gather(first, *others)
        await session.ask(batcher, 500, 64)  # idle again
        await session.ask(batcher, 600, 65)

    session.drive(scenario)
    assert list(map(len, session.batches)) == [1, 64, 2, 64, 64, 1]


def test_one_image_is_not_behind_five_hundred(make_session):
    session = make_session(held=True)

    async def scenario(batcher: Batcher) -> None:
        large = asyncio.create_task(session.ask(batcher, 1000, 512))
        await session.is_running()
        small = asyncio.create_task(session.ask(batcher, 0, 1))
        await asyncio.sleep(0)
        session.let_go(2)
        await small
        assert not large.done()
        session.let_go()
        await large

    session.drive(scenario)
    assert 0 in session.batches[1]  # in the very next batch
    assert list(map(len, session.batches)) == [64] * 8 + [1]  # and batches stay full


def test_five_hundred_are_not_starved_by_single_images(make_session):
    """Ten more single images come in during every batch; the large request takes the other 54 places of each."""
    session = make_session(held=True)

    async def scenario(batcher: Batcher) -> None:
        large = asyncio.create_task(session.ask(batcher, 1000, 512))
        tasks = [large]
        while not large.done():
            await session.is_running()
            tasks += [asyncio.create_task(session.ask(batcher, len(tasks) + i, 1)) for i in range(10)]
            await asyncio.sleep(0)
            session.let_go(1)
        session.let_go()
        await asyncio.gather(*tasks)

    session.drive(scenario)
    singles = [i for i in session.computed if i < 1000]
    assert singles == sorted(singles)  # who came first is served first
    needed = 1 + -(-(512 - 64) // 54)
    assert max(i for i, batch in enumerate(session.batches) if max(batch) >= 1000) == needed - 1


def test_many_requests_are_served_in_turn(make_session):
    session = make_session(held=True)

    async def scenario(batcher: Batcher) -> None:
        first = asyncio.create_task(session.ask(batcher, 5000, 1))
        await session.is_running()
        tasks = [asyncio.create_task(session.ask(batcher, 9 * i, 9)) for i in range(100)]
        await asyncio.sleep(0)
        session.let_go()
        await asyncio.gather(first, *tasks)

    session.drive(scenario)
    pieces = [(first, i) for first in (0, 4, 8) for i in range(100)]  # four images, four, and the one that is left
    assert session.computed[1:] == [9 * i + k for first, i in pieces for k in range(first, min(first + 4, 9))]
    assert list(map(len, session.batches)) == [1, *[64] * 14, 4]


@pytest.mark.parametrize("poison", [{0}, {40}, {63}, {7, 8}, {3, 30, 60}, set(range(64))], ids=str)
def test_a_poisoned_image_fails_alone(make_session, poison: set[int]):
    session = make_session(poison=frozenset(poison), held=True)

    async def scenario(batcher: Batcher) -> None:
        first = asyncio.create_task(session.ask(batcher, 900, 1))
        await session.is_running()
        tasks = [asyncio.create_task(session.ask(batcher, i, 1)) for i in range(64)]
        await asyncio.sleep(0)
        session.let_go()
        await first
        results = await asyncio.gather(*tasks, return_exceptions=True)
        failed = {i for i, result in enumerate(results) if result is not None}
        assert failed == poison
        assert all(isinstance(results[i], GenerationError) for i in poison)
        await session.ask(batcher, 901, 3)  # and the session goes on

    session.drive(scenario)
    assert len(session.batches[1]) == 64
    runs = len(session.batches) - 3  # the first, the whole batch, the last
    assert runs <= 2 * 6 * len(poison)  # bisection, not one by one


def test_a_request_fails_with_its_guilty_image_and_is_not_computed_further(make_session):
    session = make_session(poison=frozenset({105}), reason="\n overflow in node 7\nat line 3\n")

    async def scenario(batcher: Batcher) -> None:
        neighbours = [asyncio.create_task(session.ask(batcher, i * 10, 10)) for i in range(3)]
        with pytest.raises(GenerationError, match=r"^image 5 could not be generated: overflow in node 7$"):
            await session.ask(batcher, 100, 400)
        await asyncio.gather(*neighbours)

    session.drive(scenario)
    assert len([i for i in session.computed if i >= 164]) == 0


def test_an_error_without_words_is_named_by_its_type(make_session):
    session = make_session(poison=frozenset({0}), reason="")

    async def scenario(batcher: Batcher) -> None:
        with pytest.raises(GenerationError, match=r"image 0 could not be generated: RuntimeError$"):
            await session.ask(batcher, 0, 1)

    session.drive(scenario)


def test_a_failure_is_logged_once_with_its_traceback_and_many_are_counted(
    make_session, caplog: pytest.LogCaptureFixture
):
    session = make_session(poison=frozenset({3, *range(100, 164)}), reason="Node Conv_7\nthe cause is on line 2")

    def told() -> list[str]:
        found = [each for each in caplog.records if each.name == "bentoml.ganworks"]
        caplog.clear()
        assert all("the cause is on line 2" in str(each.exc_info) for each in found)
        return [each.getMessage() for each in found]

    async def scenario(batcher: Batcher) -> None:
        now = 0.0
        batcher._failures = FailureLog("faces", lambda: now)
        await asyncio.gather(*(session.ask(batcher, i, 1) for i in range(8)), return_exceptions=True)
        assert told() == ["generator faces: an image could not be generated"]
        await asyncio.gather(*(session.ask(batcher, i, 1) for i in range(100, 164)), return_exceptions=True)
        assert told() == []
        now = QUIET_SECONDS
        await asyncio.gather(session.ask(batcher, 3, 1), return_exceptions=True)
        assert told() == ["generator faces: an image could not be generated (nor 64 others since the last such line)"]

    session.drive(scenario)


def test_a_cancelled_request_leaves_the_queue_uncomputed(make_session):
    session = make_session(held=True)

    async def scenario(batcher: Batcher) -> None:
        first = asyncio.create_task(session.ask(batcher, 0, 64 + 30))
        await session.is_running()
        leaving = [asyncio.create_task(session.ask(batcher, 1000 + 50 * i, 50)) for i in range(4)]
        staying = asyncio.create_task(session.ask(batcher, 500, 20))
        await asyncio.sleep(0)
        assert batcher.waiting == 30 + 200 + 20
        first.cancel()  # its first 64 images are being computed
        for task in leaving:
            task.cancel()
        await asyncio.gather(first, *leaving, return_exceptions=True)
        assert batcher.waiting == 20
        session.let_go()
        await staying

    session.drive(scenario)
    assert session.batches == [list(range(64)), list(range(500, 520))]


def test_a_request_that_leaves_during_bisection_is_not_computed_again(make_session):
    session = make_session(poison=frozenset({3}), held=True)

    async def scenario(batcher: Batcher) -> None:
        tasks = [asyncio.create_task(session.ask(batcher, 2 * i, 2)) for i in range(4)]
        await session.is_running()
        tasks[3].cancel()
        session.let_go()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(result) for result in results[1:]] == [GenerationError, type(None), asyncio.CancelledError]

    session.drive(scenario)
    assert session.batches[0] == list(range(8))
    assert not {6, 7} & set(session.computed[8:])


def test_a_long_request_gives_its_first_part_after_one_run_and_lets_others_in_between(make_session):
    session = make_session(held=True)

    async def scenario(batcher: Batcher) -> None:
        rows = np.stack([np.arange(512), np.full(512, 0.5)], 1).astype(np.float32)
        parts = stream(batcher, (Inputs(rows[i : i + 64], None) for i in range(0, 512, 64)))
        session.let_go(1)
        first = await anext(parts)
        assert np.array_equal(first, session.draw(rows[:64], None))
        # The second run may have begun while the first part was handed over; it has one part only.
        assert len(session.computed) <= 128
        single = asyncio.create_task(session.ask(batcher, 5000, 1))
        await asyncio.sleep(0)
        session.let_go(2)
        await single
        assert 5000 in session.computed[: 3 * 64 + 1]
        session.let_go()
        rest = [part async for part in parts]
        assert np.array_equal(np.concatenate([first, *rest]), session.draw(rows, None))

    session.drive(scenario)


def test_the_image_at_fault_is_told_by_its_place_in_a_long_request(make_session):
    session = make_session(poison=frozenset({100}))

    async def scenario(batcher: Batcher) -> None:
        rows = np.stack([np.arange(192), np.full(192, 0.5)], 1).astype(np.float32)
        parts = stream(batcher, (Inputs(rows[i : i + 64], None) for i in range(0, 192, 64)))
        assert len(await anext(parts)) == 64
        with pytest.raises(GenerationError, match="image 100 could not be generated"):
            await anext(parts)

    session.drive(scenario)
