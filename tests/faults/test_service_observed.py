"""What the access log and the metrics tell of single requests to a real service."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from asking import PATIENCE, Series, look, until

pytestmark = pytest.mark.slow


def ask(service: Any, method: str, path: str) -> tuple[httpx.Response, dict[str, Any]]:
    """The answer, and its line of the log."""
    response = httpx.request(method, service.url + path, timeout=PATIENCE)
    said = response.headers["x-request-id"]

    def lines() -> list[str]:
        return [line for line in service.log.read_text().splitlines() if said in line]

    until(lines, "the request is logged")
    (line,) = lines()
    return response, json.loads(line)


def count(series: Series, endpoint: str) -> float:
    return series.total("bentoml_service_request_total", endpoint=endpoint)


@pytest.mark.parametrize(
    ("path", "endpoint"),
    [
        ("/", "/"),
        ("/ui", "/ui"),
        ("/ui/", "/ui/"),
        ("/ui/nothing.js", "/ui/{name}"),
        ("/models/small", "/models/{name}"),
        ("/nowhere", "other"),
    ],
)
def test_each_route_has_its_own_series(trapped, path: str, endpoint: str) -> None:
    before = look(trapped)
    _, line = ask(trapped, "GET", path)
    assert line["route"] == endpoint
    assert count(look(trapped), endpoint) == count(before, endpoint) + 1


@pytest.mark.parametrize("path", ["/models", "/nowhere", "/models/nobody"])
def test_the_log_counts_no_bytes_that_are_not_sent(trapped, path: str) -> None:
    whole, line = ask(trapped, "GET", path)
    assert line["bytes"] == len(whole.content) > 0
    head, line = ask(trapped, "HEAD", path)
    assert head.content == b""
    assert int(head.headers["content-length"]) == len(whole.content)
    assert line["bytes"] == 0


def test_the_statistics_of_all_models_come_at_once(trapped) -> None:
    def told(path: str) -> list[dict[str, Any]]:
        response = httpx.get(trapped.url + path, timeout=PATIENCE)
        assert response.status_code == 200, response.text
        stats: list[dict[str, Any]] = response.json()["model_stats"]
        return stats

    n = 3
    before = {each["name"]: each["inference_count"] for each in told("/v2/models/stats")}
    assert set(before) == {"small", "large"}
    httpx.post(f"{trapped.url}/generate", json={"model": "large", "n": n}, timeout=PATIENCE).raise_for_status()
    after = told("/v2/models/stats")
    assert {each["name"]: each["inference_count"] for each in after} == before | {"large": before["large"] + n}
    assert after == [*told("/v2/models/large/stats"), *told("/v2/models/small/stats")]


def test_only_proxies_that_are_named_are_believed_whose_request_it_is(
    serve, trap_models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "10.0.0.7,127.0.0.2/31")
    caller = "192.0.2.9"
    with serve(models=trap_models, default_model="small", rate_limit=0.001, rate_burst=1) as service:

        def answer(address: str, forwarded: str) -> int:
            with httpx.Client(transport=httpx.HTTPTransport(local_address=address), timeout=PATIENCE) as client:
                return client.get(f"{service.url}/models", headers={"X-Forwarded-For": forwarded}).status_code

        # A limit for each caller behind the proxy; whoever only says that he is one has his own address.
        assert [answer("127.0.0.3", each) for each in (caller, caller, "192.0.2.8")] == [200, 429, 200]
        assert [answer("127.0.0.4", each) for each in (caller, "192.0.2.7")] == [200, 429]
        until(lambda: service.log.read_text().count('"client":"127.0.0.4"') == 2, "the requests are logged")
        assert service.log.read_text().count(f'"client":"{caller}"') == 2


@pytest.mark.parametrize("workers", [1, 2])
def test_a_service_that_is_started_without_standard_streams_writes_its_log_into_nothing_else(
    serve, trap_models: Path, tmp_path: Path, workers: int
) -> None:
    closing = tmp_path / "bentoml"
    closing.write_text(f'#!/bin/sh\nexec {sys.executable} -m bentoml "$@" <&- >&-\n')
    closing.chmod(0o755)
    with serve(models=trap_models, default_model="small", workers=workers, programs=tmp_path) as service:
        assert httpx.post(f"{service.url}/generate", json={}, timeout=PATIENCE).status_code == 200
        streams = [Path(f"/proc/{pid}/fd/{number}").readlink() for pid in service.pids() for number in (0, 1)]
    assert len(streams) >= 2 * (1 + workers)
    assert set(streams) == {Path(os.devnull)}
