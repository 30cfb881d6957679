"""`with_options` and `with_raw_response`: the same service, asked otherwise."""

import asyncio
import re
import time

import pytest

from gan_client import AsyncGanClient, GanClient, errors


def test_options_of_the_copy_and_of_the_original(client, service, act):
    quick = client.with_options(timeout=0.3, max_retries=0)
    service.script.append(service.busy(503))
    with pytest.raises(errors.UnavailableError):
        quick.generate()
    assert len(service.received) == 1
    service.script.append(act.HOLD)
    with pytest.raises(errors.DeadlineExceededError, match=r"within 0\.3 s"):
        quick.generate()
    service.script.append(service.busy(503))
    assert client.generate()  # retried, as before
    assert quick.with_options(max_retries=1).with_raw_response.health().tries == 1


def test_the_copy_shares_connections_and_key(service):
    service.api_key = "s3cret"
    with GanClient(service.url, api_key="s3cret") as client:
        copy = client.with_options(timeout=5)
        assert type(copy) is GanClient
        assert copy.base_url == client.base_url
        assert len(copy.generate(2)) == 2
    with pytest.raises(errors.ClientClosedError):
        copy.generate()


def test_own_headers_go_with_every_request(service):
    own = {"x-gateway-key": "s3cret", "user-agent": "lesson/1", "X-Request-ID": "mine", "Content-Type": "text/plain"}
    with GanClient(service.url, api_key="k", headers=own) as client:
        client.generate()
        client.with_options(timeout=5).models.list()

    async def ask() -> None:
        async with AsyncGanClient(service.url, api_key="k", headers=own) as client:
            await client.generate()

    asyncio.run(ask())
    assert len(service.received) == 3
    for received in service.received:
        headers = {name.lower(): value for name, value in received.headers.items()}
        assert (headers["x-gateway-key"], headers["user-agent"]) == ("s3cret", "lesson/1")
        assert headers["authorization"] == "Bearer k"
        assert headers["x-request-id"] != "mine"
    assert service.received[0].headers["Content-Type"] == "application/json"


def test_tries_that_fail_are_logged(client, service, caplog):
    caplog.set_level("INFO", "gan_client")
    service.script.extend([service.busy(503), service.busy(429)])
    client.generate()
    lines = [record.getMessage() for record in caplog.records if record.name == "gan_client"]
    assert re.fullmatch(r"try 1 of 3 failed, again in 0\.0 s: busy with 503.*\[request id \w+\]", lines[0])
    assert re.fullmatch(r"try 2 of 3 failed, again in 0\.0 s: busy with 429.*", lines[1])
    assert {record.levelname for record in caplog.records if record.name == "gan_client"} == {"INFO"}


@pytest.mark.parametrize(
    ("arguments", "message"), [({"timeout": 0}, "timeout is 0"), ({"max_retries": 101}, "max_retries is 101")]
)
def test_wrong_options_are_named(client, arguments, message):
    with pytest.raises(errors.InvalidArgumentError, match=message):
        client.with_options(**arguments)


def test_raw_response(client, service):
    raw = client.with_raw_response.generate(2, label=7, seed=5)
    assert (raw.status, raw.tries) == (200, 1)
    assert raw.headers["CONTENT-TYPE"] == "application/zip"
    assert raw.content.startswith(b"PK")
    assert raw.request_id == service.received[0].headers["X-Request-ID"]
    assert 0 < raw.elapsed < 20
    assert raw.parse() == client.generate(2, label=7, seed=5)
    assert "status=200" in repr(raw)
    assert "PK" not in repr(raw)


def test_raw_response_of_an_error_is_returned_and_parse_raises(client, service):
    service.script.append(service.error(400, "invalid_label", "label is 77", "label"))
    raw = client.with_raw_response.generate(label=77)
    assert (raw.status, raw.tries) == (400, 1)
    assert b"invalid_label" in raw.content
    with pytest.raises(errors.InvalidRequestError, match=r"^label is 77"):
        raw.parse()


def test_raw_response_comes_after_the_retries(client, service):
    service.script.extend([service.busy(503, "0.2"), service.busy(429, "0.2")])
    started = time.monotonic()
    raw = client.with_raw_response.generate()
    assert (raw.status, raw.tries) == (200, 3)
    assert 0.4 <= raw.elapsed <= time.monotonic() - started
    service.script.extend([service.busy(503)] * 3)
    raw = client.with_raw_response.generate()
    assert (raw.status, raw.tries) == (503, 3)
    with pytest.raises(errors.UnavailableError):
        raw.parse()


def test_raw_response_without_an_answer_is_an_error(client, act, service):
    service.script.append(act.DROP)
    with pytest.raises(errors.ConnectionFailedError):
        client.with_options(max_retries=0).with_raw_response.generate()


def test_raw_models(client):
    assert client.with_raw_response.models.list().parse()[0].name == "acgan"
