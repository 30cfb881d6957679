"""Batches that the event loop computes itself."""

import asyncio
import threading
from pathlib import Path

import pytest

from gan_export.artifact import load_artifact
from gan_serving.batcher import Batcher
from gan_serving.engine import MOST_AT_ONCE, open_engine
from gan_serving.errors import GenerationError

ZOO = Path(__file__).parents[3] / "zoo"


def test_small_batches_alone_are_computed_by_the_loop_itself(make_session):
    session = make_session()

    async def scenario(batcher: Batcher) -> None:
        for n in (1, 4, 5, 64):
            await session.ask(batcher, 0, n)

    session.drive(scenario, at_once=4)
    here = threading.get_ident()
    assert {len(batch): thread == here for batch, thread in zip(session.batches, session.threads, strict=True)} == {
        1: True, 4: True, 5: False, 64: False,
    }  # fmt: skip


def test_a_small_request_is_not_behind_a_large_one(make_session):
    """The large one has a lane; the small one finds the other lane idle, and needs no thread."""
    session = make_session(held=True)

    async def scenario(batcher: Batcher) -> None:
        large = asyncio.create_task(session.ask(batcher, 100, 16))
        await session.is_running()
        session.gate.release(2)  # either may take its turn first
        await session.ask(batcher, 0, 1)
        await large

    session.drive(scenario, lanes=2, at_once=4)
    assert session.computed.count(0) == 1
    assert session.threads[session.batches.index([0])] == threading.get_ident()


def test_only_the_image_at_fault_fails(make_session):
    session = make_session(poison=frozenset({2}))

    async def scenario(batcher: Batcher) -> None:
        tasks = [asyncio.create_task(session.ask(batcher, i, 1)) for i in range(4)]
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [isinstance(result, GenerationError) for result in results] == [False, False, True, False]

    session.drive(scenario, at_once=4)
    assert set(session.threads) == {threading.get_ident()}


@pytest.mark.parametrize(("seconds", "images"), [(1e-6, 0), (1.0, MOST_AT_ONCE)])
def test_an_engine_knows_how_many_images_are_no_work(monkeypatch: pytest.MonkeyPatch, seconds: float, images: int):
    monkeypatch.setattr("gan_serving.engine.AT_ONCE_SECONDS", seconds)
    monkeypatch.setattr("gan_serving.engine.LARGE_SECONDS", 1.0)  # however slow this machine is
    assert open_engine(load_artifact(ZOO / "mnist-cgan"), cores=2).at_once == images
