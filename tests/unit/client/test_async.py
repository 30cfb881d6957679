"""`AsyncGanClient` over real sockets: the calls of `GanClient`, awaited."""

import asyncio
import inspect
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from gan_client import AsyncGanClient, GanClient, Generation, errors


@pytest.fixture
def run(service):
    """Run `story(client)` with a client of the service."""

    def run(story, **options):
        async def whole():
            async with AsyncGanClient(service.url, **{"timeout": 20, **options}) as client:
                return await story(client)

        return asyncio.run(whole())

    return run


def test_same_images_as_the_synchronous_client(run, client, service):
    async def story(it):
        return await asyncio.gather(it.generate(3, label=7, seed=5), it.generate(seeds=[1, 9]))

    sevens, some = run(story)
    assert sevens == client.generate(3, label=7, seed=5)
    assert some == client.generate(seeds=[1, 9])
    sent = [received.body for received in service.received]
    assert sorted(map(str, sent[:2])) == sorted(map(str, sent[2:]))


def test_a_call_imports_nothing_that_the_one_before_it_did_not_find(run, monkeypatch):
    sought = []

    class Watch:
        @staticmethod
        def find_spec(name, *_):
            sought.append(name)

    async def story(it):
        await it.health()
        sought.clear()
        await it.health()
        return list(sought)

    monkeypatch.setattr(sys, "meta_path", [Watch, *sys.meta_path])
    assert run(story) == []


def test_both_clients_have_the_same_calls_with_the_same_arguments(client):
    with GanClient(client.base_url) as one:
        other = AsyncGanClient(client.base_url)
        pairs = [(one, other), (one.models, other.models), (one.with_raw_response, other.with_raw_response)]
    for blocking, awaiting in pairs:
        names = {name for name in dir(blocking) if not name.startswith("_")} - {"close"}
        assert names == {name for name in dir(awaiting) if not name.startswith("_")} - {"aclose"}
        for name in names:
            if callable(method := getattr(blocking, name)):
                assert inspect.signature(method).parameters == inspect.signature(getattr(awaiting, name)).parameters


def test_every_call_says_what_it_does_and_what_comes_out():
    for name in ("generate", "render", "interpolate", "frames", "latents", "health"):
        method = getattr(GanClient, name)
        assert "Exchange" not in str(inspect.signature(method).return_annotation)
        assert "Raises" in method.__doc__
        for parameter in list(inspect.signature(method).parameters)[1:]:
            assert parameter in method.__doc__, f"{name}: {parameter}"


def test_retries_send_the_same_seed(run, service):
    service.script.extend([service.busy(503), service.busy(429)])

    async def story(it):
        return await it.with_raw_response.generate(4)

    raw = run(story)
    assert (raw.status, raw.tries) == (200, 3)
    assert len({sent.body["seed"] for sent in service.received}) == 1
    assert isinstance(raw.parse(), Generation)


def test_errors_are_those_of_the_synchronous_client(run, service, act):
    service.script.append(service.error(400, "invalid_label", "label is 77", "label"))
    with pytest.raises(errors.InvalidRequestError, match=r"^label is 77"):
        run(lambda it: it.generate(label=77))
    service.script.append(act.DROP)
    with pytest.raises(errors.ConnectionFailedError, match="broke"):
        run(lambda it: it.generate(), max_retries=0)
    service.script.append(act.TRICKLE)
    started = time.monotonic()
    with pytest.raises(errors.DeadlineExceededError, match=r"within 0\.3 s"):
        run(lambda it: it.generate(), timeout=0.3)
    assert time.monotonic() - started < 5


def test_a_wrong_argument_is_raised_where_it_is_awaited(run, service):
    async def story(it):
        pending = it.generate(0)
        with pytest.raises(errors.InvalidArgumentError, match="n is 0"):
            await pending

    run(story)
    assert service.received == []


def test_cancelling_a_task_cancels_its_request():
    async def story():
        arrived, left = asyncio.Event(), asyncio.Event()

        async def never_answers(reader, writer):
            await reader.readuntil(b"\r\n\r\n")
            arrived.set()
            while await reader.read(65536):
                pass
            left.set()
            writer.close()

        server = await asyncio.start_server(never_answers, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server, AsyncGanClient(f"http://127.0.0.1:{port}") as client:
            task = asyncio.create_task(client.generate())
            await asyncio.wait_for(arrived.wait(), 10)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await asyncio.wait_for(left.wait(), 10)

    asyncio.run(story())


def test_the_deadline_covers_waiting_for_a_free_connection(monkeypatch):
    monkeypatch.setattr("gan_client.transport.MAX_CONNECTIONS", 1)

    async def story():
        async def never_answers(reader, writer):
            while await reader.read(65536):
                pass
            writer.close()

        server = await asyncio.start_server(never_answers, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server, AsyncGanClient(f"http://127.0.0.1:{port}", timeout=0.3) as client:
            return await asyncio.gather(*(client.generate() for _ in range(3)), return_exceptions=True)

    found = asyncio.run(story())
    assert [type(error) for error in found] == [errors.DeadlineExceededError] * 3


def test_time_until_the_headers_is_not_given_once_more_to_the_body(service, act):
    service.script.append(act.LATE)

    async def story():
        started = time.monotonic()
        async with AsyncGanClient(service.url, timeout=2) as client:
            with pytest.raises(errors.DeadlineExceededError):
                await client.generate()
        return time.monotonic() - started

    assert 2 <= asyncio.run(story()) < 3.5, "once more would be 3.6 s"


def test_transport_is_injected():
    async def application(_scope, _receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
        await send({"type": "http.response.body", "body": b"\n"})

    async def story():
        async with AsyncGanClient(transport=httpx.ASGITransport(app=application)) as client:
            return await client.health()

    assert asyncio.run(story())


def test_a_client_outlives_the_event_loop_of_its_calls(service, client):
    it = AsyncGanClient(service.url, timeout=20, max_retries=0)
    expected = client.generate(2, label=7, seed=5)
    for _ in range(3):
        assert asyncio.run(it.generate(2, label=7, seed=5)) == expected
    assert len(it._session.transport._pools) == 1, "those of loops that ended are kept for nothing"

    async def end():
        await it.aclose()
        with pytest.raises(errors.ClientClosedError):
            await it.generate()

    asyncio.run(end())
    with pytest.raises(errors.ClientClosedError):
        asyncio.run(it.generate())


def test_threads_with_an_event_loop_each_share_a_client(service, client):
    it = AsyncGanClient(service.url, timeout=20, max_retries=0)
    expected = [client.generate(4, seed=seed) for seed in range(8)]

    async def some(seed):
        return [await it.generate(4, seed=seed) for _ in range(5)]

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda seed: asyncio.run(some(seed)), range(8)))
    assert found == [[each] * 5 for each in expected]


def test_each_event_loop_closes_its_own_connections(service):
    it = AsyncGanClient(service.url, timeout=20)
    pools, ready, closed = [], threading.Barrier(2, timeout=20), threading.Event()

    async def use(is_first):
        await it.generate()
        pools.append(it._session.transport._pool())
        await asyncio.to_thread(ready.wait)
        if not is_first:
            await asyncio.to_thread(closed.wait, 20)
        await it.aclose()
        closed.set()

    with ThreadPoolExecutor(2) as threads:
        for done in [threads.submit(asyncio.run, use(is_first)) for is_first in (True, False)]:
            done.result()
    assert len(pools) == 2
    assert all(pool.http.is_closed for pool in pools)


def test_closed_client_has_released_its_connections(service):
    async def story():
        async with AsyncGanClient(service.url) as client:
            await client.generate()
        with pytest.raises(errors.ClientClosedError):
            await client.generate()

    asyncio.run(story())
