"""A request of several batches: its parts are drawn turn by turn, and none is waited for without end."""

import asyncio
from collections.abc import Iterator

import numpy as np
import pytest

from gan_serving.batching.batcher import Batcher
from gan_serving.batching.jobs import Inputs
from gan_serving.batching.long_requests import stream
from gan_serving.errors import DeadlineError

SOON = 0.05  # seconds
PATIENCE = 20.0  # seconds


def parts_of(n: int) -> Iterator[Inputs]:
    for start in range(0, 64 * n, 64):
        yield Inputs(np.stack([np.arange(start, start + 64), np.full(64, 0.5)], 1).astype(np.float32), None)


def test_a_part_that_does_not_come_is_waited_for_no_longer_than_the_first_one(make_session):
    session = make_session(held=True)

    async def scenario(batcher: Batcher) -> None:
        batcher.patience = SOON
        parts = stream(batcher, parts_of(4))
        session.let_go(1)
        assert len(await anext(parts)) == 64
        with pytest.raises(DeadlineError, match=r"^image 64 was not ready within 0.05 s;"):
            await asyncio.wait_for(anext(parts), PATIENCE)
        assert batcher.waiting == 0, "what is behind it will not be asked for"
        session.let_go()

    session.drive(scenario)


def test_a_slow_reader_is_not_late(make_session):
    session = make_session(held=True)

    async def scenario(batcher: Batcher) -> None:
        batcher.patience = SOON
        parts = stream(batcher, parts_of(4))
        session.let_go()
        seen = 0
        async for some in parts:
            seen += len(some)
            await asyncio.sleep(2 * SOON)
        assert seen == 256

    session.drive(scenario)


def test_the_event_loop_has_a_turn_between_the_draws_for_many_lanes(make_session):
    session = make_session(held=True)
    turn, drawn_at = 0, []

    def drawn() -> Iterator[Inputs]:
        for inputs in parts_of(12):
            drawn_at.append(turn)
            yield inputs

    async def scenario(batcher: Batcher) -> None:
        async def count() -> None:
            nonlocal turn
            while True:
                turn += 1
                await asyncio.sleep(0)

        counting = asyncio.create_task(count())
        parts = stream(batcher, drawn())
        reading = asyncio.create_task(anext(parts))
        await session.is_running()
        while len(drawn_at) < 9:
            await asyncio.sleep(0)
        assert len(set(drawn_at)) == 9
        session.let_go()
        await reading
        await parts.aclose()
        counting.cancel()

    session.drive(scenario, lanes=8)
