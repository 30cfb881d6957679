"""The limit of a request's time: late, in time, lifted, and cancelled by somebody else."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from gan_serving.process.deadline import Deadline

SOON, LONG = 0.02, 5.0  # seconds


def test_who_is_late_gets_a_timeout_and_is_not_cancelled():
    async def late() -> int:
        with pytest.raises(TimeoutError), Deadline(SOON):
            await asyncio.sleep(LONG)
        task = asyncio.current_task()
        assert task is not None
        await asyncio.sleep(0)  # would raise if the cancellation were still to come
        return task.cancelling()

    assert asyncio.run(late()) == 0


def test_who_is_in_time_or_has_it_lifted_may_go_on():
    async def punctual() -> None:
        with Deadline(SOON) as deadline:
            pass
        await asyncio.sleep(2 * SOON)
        assert not deadline.expired
        with Deadline(SOON) as deadline:
            deadline.lift()
            await asyncio.sleep(2 * SOON)
        assert not deadline.expired

    asyncio.run(punctual())


@pytest.mark.parametrize("error", [ValueError("of the block"), TimeoutError("of the block")])
def test_errors_of_the_block_come_out_as_they_are(error: Exception):
    async def failing() -> None:
        with Deadline(LONG):
            raise error

    with pytest.raises(type(error), match="of the block"):
        asyncio.run(failing())


async def _cancelled(block: Callable[[], Awaitable[None]], after: float) -> None:
    task = asyncio.ensure_future(block())
    await asyncio.sleep(after)
    task.cancel()
    await task


@pytest.mark.parametrize("after", [SOON / 2, 2 * SOON])
def test_a_cancellation_by_somebody_else_stays_one(after: float):
    """Before the deadline, and after it, while what runs takes its time to end."""

    async def block() -> None:
        with Deadline(SOON):
            try:
                await asyncio.sleep(LONG)
            except asyncio.CancelledError:
                await asyncio.sleep(4 * SOON)
                raise

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(_cancelled(block, after))


@pytest.mark.parametrize(("inner", "outer"), [(SOON, LONG), (LONG, SOON)])
def test_inside_of_another_limit(inner: float, outer: float):
    async def both() -> str:
        try:
            async with asyncio.timeout(outer):
                try:
                    with Deadline(inner):
                        await asyncio.sleep(LONG)
                except TimeoutError:
                    return "inner"
        except TimeoutError:
            return "outer"
        return "neither"

    assert asyncio.run(both()) == ("inner" if inner < outer else "outer")
