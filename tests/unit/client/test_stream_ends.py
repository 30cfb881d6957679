"""How a stream ends that is closed by somebody else, whose wait is given up, or whose chunk fails."""

import asyncio
import threading

import pytest

from gan_client import AsyncGanClient, GanClient, errors
from gan_client.retry import Stop


@pytest.mark.parametrize("turns", range(6))
def test_closing_at_any_moment_ends_the_reader_quietly(service, turns):
    async def story():
        async with AsyncGanClient(service.url) as client:
            stream = client.stream(40, seed=0, chunk=4, ahead=1)

            async def take():
                return [image.seed async for image in stream]

            taking = asyncio.create_task(take())
            # Until a chunk is there and the reader is not yet told: a few turns of the loop after it came.
            while not (stream._flying and stream._flying[0].done()):
                await asyncio.sleep(0)
            for _ in range(turns):
                await asyncio.sleep(0)
            await stream.aclose()
            return await asyncio.wait_for(taking, 5)

    found = asyncio.run(story())
    assert found == list(range(len(found)))


def test_a_wait_that_is_given_up_is_no_end_of_the_stream(service, act):
    service.script.extend([act.CONTRACT, act.HOLD])

    async def story():
        async with AsyncGanClient(service.url) as client:
            stream = client.stream(20, seed=100, chunk=10, ahead=1)
            seeds = [(await anext(stream)).seed for _ in range(10)]
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(stream), 0.2)
            for _ in range(2):
                with pytest.raises(errors.GanError, match=r"broke off after 10 of 20 images.*seed=110"):
                    await anext(stream)
            return seeds

    assert asyncio.run(story()) == list(range(100, 110))


def test_all_tasks_that_share_a_stream_learn_that_images_are_missing(service, act):
    service.script.extend([act.HOLD])

    async def story():
        async with AsyncGanClient(service.url) as client:
            stream = client.stream(20, seed=0, chunk=10, ahead=1)
            first, second = (asyncio.create_task(anext(stream)) for _ in range(2))
            while not service.received:
                await asyncio.sleep(0.01)
            first.cancel()
            return await asyncio.gather(first, second, return_exceptions=True)

    cancelled, told = asyncio.run(story())
    assert isinstance(cancelled, asyncio.CancelledError)
    assert isinstance(told, errors.GanError)
    assert "broke off after 0 of 20 images" in str(told)


def test_all_threads_that_share_a_stream_learn_that_images_are_missing(client, service):
    service.script.extend([service.error(400, "invalid_request", "no")])
    stream = client.stream(20, seed=0, chunk=10, ahead=1)
    outcomes: list[object] = []

    def take():
        try:
            outcomes.append(sum(1 for _ in stream))
        except errors.GanError as error:
            outcomes.append(error)

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["GanError"] * 3 + ["InvalidRequestError"]


def test_close_gives_up_images_that_have_just_come(service):
    """Another thread waits for a chunk when the stream is closed, and the chunk comes all the same."""
    came, closed = threading.Event(), threading.Event()

    class Late(Stop):
        """Is looked at once for each bit of an answer; the last look is before the stream was closed."""

        def is_set(self):
            if threading.current_thread() is waiting:
                assert closed.wait(10)
            else:
                came.set()
                return False
            return super().is_set()

    with GanClient(service.url) as client:
        stream = client.stream(8, seed=0, chunk=4, ahead=1)
        stream._stop = Late()
        given: list[object] = []
        waiting = threading.Thread(target=lambda: given.extend(stream))
        waiting.start()
        assert came.wait(10)
        stream.close()
        closed.set()
        waiting.join(10)
    assert given == []


@pytest.mark.parametrize("label", [{1, 2}, b"\x01\x02", {1: 2}])
def test_what_has_no_order_is_no_list_of_labels(client, label):
    with pytest.raises(errors.InvalidArgumentError, match="give a list"):
        client.stream(10, label)


def test_a_fraction_is_no_label_and_no_list_of_them(client):
    for ask in (client.generate, client.stream):
        with pytest.raises(errors.InvalidArgumentError, match=r"label is 1\.0: it must be an integer from 0"):
            ask(1, 1.0)


def test_a_number_of_numpys_is_a_label(client):
    np = pytest.importorskip("numpy")
    for label in (np.array(7), np.int64(7)):
        assert [image.label for image in client.stream(2, label, seed=0)] == [7, 7]
    with pytest.raises(errors.InvalidArgumentError, match=r"label is 2\.5"):
        list(client.stream(2, [1, 2.5], seed=0))
