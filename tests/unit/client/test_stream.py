"""`client.stream`, with threads and with tasks, over real sockets."""

import asyncio
import gc
import itertools
import threading
import time
from collections import Counter

import pytest
from waiting import until

from gan_client import AsyncGanClient, GanClient, errors
from gan_client.types import SEED_LIMIT, GenerateRequest


@pytest.fixture(params=["threads", "tasks"])
def collect(request, service):
    """All images of a stream, and the stream; once from each client."""

    def with_threads(n, label=None, **options):
        with GanClient(service.url, timeout=20) as client, client.stream(n, label, **options) as stream:
            return list(stream), stream

    def with_tasks(n, label=None, **options):
        async def whole():
            async with AsyncGanClient(service.url, timeout=20) as client, client.stream(n, label, **options) as stream:
                return [image async for image in stream], stream

        return asyncio.run(whole())

    return with_threads if request.param == "threads" else with_tasks


def test_images_come_in_the_order_of_their_seeds(collect, service):
    images, stream = collect(25, label=7, seed=100, chunk=10)
    assert [image.seed for image in images] == list(range(100, 125))
    assert [image.png for image in images] == [service.png(seed, 7) for seed in range(100, 125)]
    assert (stream.n, stream.seed, stream.done, stream.model) == (25, 100, 25, "acgan")
    sizes = Counter((sent.body["seed"], sent.body["n"]) for sent in service.received)
    assert sizes == {(100, 10): 1, (110, 10): 1, (120, 5): 1}


def test_a_random_seed_is_in_range(collect):
    images, stream = collect(3)
    assert [image.seed for image in images] == [stream.seed, stream.seed + 1, stream.seed + 2]
    assert 0 <= stream.seed <= SEED_LIMIT - 3


def test_labels_are_read_as_they_are_needed(collect):
    taken = itertools.count()
    endless = (next(taken) % 10 for _ in itertools.repeat(None))
    images, _ = collect(25, label=endless, seed=0, chunk=10)
    assert [image.label for image in images] == [i % 10 for i in range(25)]
    assert next(taken) == 25


def test_each_chunk_is_retried_on_its_own(collect, service):
    service.script.append(service.busy(503))
    images, _ = collect(20, seed=0, chunk=10)
    assert [image.seed for image in images] == list(range(20))
    assert sorted(sent.body["seed"] for sent in service.received) in ([0, 0, 10], [0, 10, 10])


@pytest.mark.parametrize(("given", "said"), [(1, "1 label"), (12, "12 labels")])
def test_too_few_labels(collect, given, said):
    with pytest.raises(
        errors.InvalidArgumentError, match=f"label ended after {said}: give one for each of the 20 images"
    ):
        collect(20, label=[1] * given, seed=0, chunk=10)


def test_images_before_a_failure_are_given_and_the_rest_can_be_asked_for(client, service, act):
    service.script.extend([act.CONTRACT, service.error(500, "generation_failed", "it failed")])
    stream = client.stream(30, seed=50, chunk=10, ahead=1)
    images = list(itertools.islice(stream, 10))
    with pytest.raises(errors.InternalServerError, match="it failed") as caught:
        next(stream)
    assert [image.seed for image in images] == list(range(50, 60))
    assert caught.value.__notes__ == ["10 of 30 images came; the next one's seed is 60"]
    with pytest.raises(errors.GanError, match="broke off after 10 of 30 images"):
        next(stream)
    images += client.stream(stream.n - stream.done, seed=stream.seed + stream.done, chunk=10)
    assert [image.seed for image in images] == list(range(50, 80))


def test_a_chunk_that_is_too_large_is_called_so(collect, service):
    service.script.extend(
        [service.error(400, "invalid_request", "n is 500; a request is for at most 64 images", "n")] * 2
    )
    with pytest.raises(
        errors.InvalidRequestError, match=r"^chunk is 500: .* give a smaller chunk .*at most 64"
    ) as caught:
        collect(1000, chunk=500)
    assert caught.value.param == "chunk"
    assert "client.stream" not in str(caught.value)


def test_images_of_another_generator_are_refused(collect, service, act, reply):
    def other(request):
        index, pngs = service.draw(request)
        files = {str(image.file): png for image, png in zip(index.images, pngs, strict=True)}
        return service.zip(index.model_copy(update={"model": "newer"}), files)

    service.script.extend([act.CONTRACT, reply(200, other(GenerateRequest(n=10, seed=10)))])
    with pytest.raises(
        errors.UnexpectedResponseError, match=r"from 'newer' now, and those before from 'acgan'.*model="
    ):
        collect(20, seed=0, chunk=10, ahead=1)


def test_images_of_another_version_are_refused(collect, service, reply):
    def drawn(seed, artifact):
        index, pngs = service.draw(GenerateRequest(n=10, seed=seed))
        files = {str(image.file): png for image, png in zip(index.images, pngs, strict=True)}
        return reply(200, service.zip(index, files), {"X-Gan-Artifact": artifact} if artifact else {})

    same, other = "a" * 64, "b" * 64
    service.script.extend([drawn(0, same), drawn(10, None), drawn(20, other)])
    with pytest.raises(
        errors.UnexpectedResponseError, match=r"another version of 'acgan' now \(artifact b{12}, and a{12} before\)"
    ) as caught:
        collect(40, seed=0, chunk=10, ahead=1)
    assert caught.value.__notes__ == ["20 of 40 images came; the next one's seed is 20"]


def test_so_many_requests_are_under_way_and_no_more(client, service, act):
    service.script.extend([act.CONTRACT])
    stream = client.stream(1000, seed=0, chunk=10, ahead=3)
    assert service.received == []  # nothing is asked for before somebody wants it
    next(stream)
    until(lambda: len(service.received) == 4, "four requests")
    time.sleep(0.2)  # in which a fifth would come
    assert len(service.received) == 4
    stream.close()
    assert next(stream, None) is None


@pytest.mark.parametrize("way", ["close", "with", "forget"])
def test_requests_end_when_the_stream_does(client, service, act, way):
    service.script.extend([act.CONTRACT, act.TRICKLE])
    stream = client.stream(1000, seed=0, chunk=10, ahead=1)
    next(stream)
    until(lambda: len(service.received) == 2, "the second request")
    if way == "close":
        stream.close()
    elif way == "with":
        with stream:
            pass
    else:
        del stream
        gc.collect()
    assert service.client_left.wait(5)
    assert not [thread for thread in threading.enumerate() if "_fetch" in thread.name and not thread.daemon]


def test_requests_end_when_the_task_does(service, act):
    service.script.extend([act.CONTRACT, act.TRICKLE])

    async def story():
        async with AsyncGanClient(service.url) as client:
            stream = client.stream(1000, seed=0, chunk=10, ahead=1)
            await anext(stream)
            waiting = asyncio.create_task(take(stream))
            await asyncio.sleep(0)
            while len(service.received) < 2:
                await asyncio.sleep(0.01)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            assert await asyncio.to_thread(service.client_left.wait, 5)
            return stream.done

    async def take(stream):
        async for _ in stream:
            pass

    assert asyncio.run(story()) == 10


def test_threads_share_a_stream_and_each_image_goes_to_one_of_them(client):
    stream = client.stream(400, seed=0, chunk=7, ahead=3)
    given: list[list[int]] = [[] for _ in range(8)]
    threads = [threading.Thread(target=lambda mine=mine: mine.extend(image.seed for image in stream)) for mine in given]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(seed for mine in given for seed in mine) == list(range(400))
    assert stream.done == 400


def test_tasks_share_a_stream_and_each_image_goes_to_one_of_them(service):
    async def take(stream):
        return [image.seed async for image in stream]

    async def story():
        async with AsyncGanClient(service.url) as client:
            stream = client.stream(400, seed=0, chunk=7, ahead=3)
            return await asyncio.gather(*(take(stream) for _ in range(8)))

    assert sorted(seed for mine in asyncio.run(story()) for seed in mine) == list(range(400))


def test_a_stream_that_another_task_closes_ends_and_cancels_nobody(service, act):
    service.script.extend([act.CONTRACT, act.TRICKLE])

    async def story():
        async with AsyncGanClient(service.url) as client:
            stream = client.stream(1000, seed=0, chunk=10, ahead=1)

            async def take():
                return [image.seed async for image in stream]

            taking = asyncio.create_task(take())
            while len(service.received) < 2 or stream.done < 10:
                await asyncio.sleep(0.01)
            await stream.aclose()
            return await asyncio.wait_for(taking, 5)

    assert asyncio.run(story()) == list(range(10))


def test_a_pause_before_a_retry_ends_with_the_stream(client, service):
    service.script.extend([service.busy(503, "10")])
    stream = client.stream(10, seed=0, chunk=10)
    before = threading.active_count()
    first = threading.Thread(target=next, args=(stream, None))
    first.start()
    until(lambda: len(service.received) == 1, "the first request")
    stream.close()
    first.join(5)
    assert not first.is_alive()
    until(lambda: threading.active_count() == before, "its threads end")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n": 0}, r"n is 0"),
        ({"n": 10, "seed": -1}, r"seed is -1"),
        (
            {"n": 10, "seed": SEED_LIMIT - 9},
            r"seed is 9007199254740983: it must be an integer from 0 to 90071992547409",
        ),
        ({"n": 10, "label": -1}, r"label is -1"),
        ({"n": 10, "chunk": 0}, r"chunk is 0"),
        ({"n": 10, "ahead": 65}, r"ahead is 65: it must be an integer from 1 to 64"),
        ({"n": 10, "truncation": 0}, r"truncation is 0"),
        ({"n": 10, "model": ""}, r"model is ''"),
    ],
)
def test_wrong_arguments_are_named_at_once(client, service, arguments, message):
    with pytest.raises(errors.InvalidArgumentError, match=message):
        client.stream(**arguments)
    assert service.received == []
