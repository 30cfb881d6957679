"""An image that is computed sooner than a thread wakes is computed in the event loop; all else in a thread."""

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from gan_serving.batching.batcher import Batcher
from gan_serving.batching.brief_runs import BRIEF_SECONDS, RUNS, BriefRuns
from gan_serving.errors import GenerationError

POISON = -1.0


class Recorded:
    """A session that waits as long as its first latent says, in seconds, and remembers who called."""

    def __init__(self) -> None:
        self.in_loop: list[bool] = []

    def run(self, latents: np.ndarray, _labels: np.ndarray | None) -> np.ndarray:
        self.in_loop.append(threading.current_thread() is threading.main_thread())
        if latents[0, 0] == POISON:
            raise RuntimeError("poisoned")
        if latents[0, 0]:
            time.sleep(float(latents[0, 0]))
        return np.zeros((len(latents), 1, 2, 2), np.uint8)


async def ask(batcher: Batcher, seconds: float = 0.0, n: int = 1) -> int:
    return len(await batcher.submit(np.full((n, 2), seconds, np.float32), None))


def drive(story, max_batch: int = 64, **more) -> list[bool]:
    session = Recorded()
    with ThreadPoolExecutor(2) as executor:
        asyncio.run(story(session, Batcher(session.run, max_batch, 1000, executor, lanes=2, **more)))
    return session.in_loop


async def until_brief(session: Recorded, batcher: Batcher) -> None:
    """Ask for single images until one was computed in the loop; a busy machine may need more than RUNS."""
    for _ in range(100 * RUNS):
        await ask(batcher)
        if session.in_loop[-1]:
            return
    pytest.fail("no image was computed in the loop")


def test_one_image_is_computed_in_the_loop_once_enough_runs_were_brief() -> None:
    async def story(session: Recorded, batcher: Batcher) -> None:
        await until_brief(session, batcher)
        assert not any(session.in_loop[:RUNS]), "nothing is believed before so many runs"
        assert await ask(batcher, n=2) == 2
        assert not session.in_loop[-1], "two take longer"

    drive(story)


def test_nothing_is_computed_in_the_loop_where_others_may_keep_the_device_busy() -> None:
    async def story(_: Recorded, batcher: Batcher) -> None:
        for _ in range(3 * RUNS):
            await ask(batcher)

    assert not any(drive(story, in_loop=False))


def test_others_have_their_turns_between_batches_of_one_image_that_the_loop_computes() -> None:
    async def story(session: Recorded, batcher: Batcher) -> None:
        await until_brief(session, batcher)
        turns, before = 0, len(session.in_loop)
        asking = asyncio.create_task(ask(batcher, n=200))
        while not asking.done():
            turns += 1
            await asyncio.sleep(0)
        assert len(session.in_loop) - before == 200
        assert turns > 100

    drive(story, max_batch=1)


def test_after_a_run_that_took_longer_all_are_computed_in_threads() -> None:
    async def story(session: Recorded, batcher: Batcher) -> None:
        await until_brief(session, batcher)
        await ask(batcher, 20 * BRIEF_SECONDS)
        assert session.in_loop[-1], "nobody could have known"
        for _ in range(RUNS):
            await ask(batcher)
        assert not any(session.in_loop[-RUNS:])

    drive(story)


def test_an_image_that_fails_in_the_loop_fails_alone() -> None:
    async def story(session: Recorded, batcher: Batcher) -> None:
        await until_brief(session, batcher)
        with pytest.raises(GenerationError, match="image 0 could not be generated: poisoned"):
            await ask(batcher, POISON)
        assert session.in_loop[-1]
        assert await ask(batcher) == 1

    drive(story)


def test_only_runs_of_one_image_tell() -> None:
    brief = BriefRuns()
    for _ in range(2 * RUNS):
        brief.ran(2, BRIEF_SECONDS / 2)
    assert not brief.expected(1)
    for _ in range(RUNS):
        brief.ran(1, BRIEF_SECONDS / 2)
        brief.ran(64, 1.0)
    assert brief.expected(1)
    assert not brief.expected(2)
    brief.ran(1, 2 * BRIEF_SECONDS)
    assert not brief.expected(1)
