"""Who may call and how often, what is answered without computing, and what happens when files go or disks are full."""

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest
from asking import PATIENCE, held, look, post, read_images, until
from trap_artifact import Direct, write_trap

pytestmark = pytest.mark.slow

KEY, OTHER = "k" * 24, "o" * 24
BURST = 12  # requests
CACHE_MIB = 0.125
SEEDED = {"n": 8, "seed": 5, "label": 1}


class TestETags:
    @pytest.mark.parametrize("wanted", ["npy", "json", "zip", "png", "ndjson"])
    def test_a_seeded_request_has_one_tag_and_costs_nothing_when_it_is_known(self, trapped, wanted: str) -> None:
        body = SEEDED | {"format": wanted}
        first, again = post(trapped, body), post(trapped, body)
        assert first.status_code == again.status_code == 200
        etag = first.headers["etag"]
        assert etag == again.headers["etag"]
        assert first.content == again.content
        generated = look(trapped).images("generated")
        for condition in (etag, f"W/{etag}", f'"other", {etag}'):
            known = post(trapped, body, if_none_match=condition)
            assert (known.status_code, known.content, known.headers["etag"]) == (304, b"", etag)
        assert look(trapped).images("generated") == generated
        for condition in ('"other"', "*"):  # whoever sends the second one has nothing yet
            other = post(trapped, body, if_none_match=condition)
            assert (other.status_code, other.content) == (200, first.content)

    def test_what_changes_the_bytes_changes_the_tag(self, trapped) -> None:
        changes: list[dict[str, object]] = [
            {}, {"seed": 6}, {"label": 2}, {"n": 9}, {"format": "zip"}, {"truncation": 0.5}, {"model": "large"},
        ]  # fmt: skip
        tags = {post(trapped, SEEDED | change).headers["etag"] for change in changes}
        assert len(tags) == len(changes)

    def test_images_left_to_chance_have_no_tag(self, trapped) -> None:
        answer = post(trapped, {"n": 2})
        assert answer.status_code == 200
        assert "etag" not in answer.headers


@pytest.fixture(scope="module")
def guarded(serve, trap_models) -> Iterator:
    """Two keys, a small burst whose refill no test sees, and a small cache."""
    settings = {"api_keys": f"{KEY},{OTHER}", "rate_limit": 0.001, "rate_burst": BURST, "cache_mib": CACHE_MIB}
    with serve(models=trap_models, default_model="small", reload_seconds=0, **settings) as service:
        yield service
        assert KEY not in service.log.read_text()


def test_without_a_key_nothing_is_queued_computed_or_counted_as_images(guarded) -> None:
    before = look(guarded)
    for headers in ({}, {"authorization": "Bearer " + "x" * 24}, {"authorization": f"Basic {KEY}"}):
        answer = post(guarded, {"n": 4}, **headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "unauthorized")
        assert "www-authenticate" in answer.headers
    after = look(guarded)
    assert [after.images(outcome) for outcome in ("generated", "dropped")] == [
        before.images(outcome) for outcome in ("generated", "dropped")
    ]
    assert (after.waiting, after.started) == (before.waiting, before.started)


def test_known_responses_come_from_the_cache_which_is_bounded_and_then_the_burst_is_over(guarded) -> None:
    """In this order, since all of it is charged to one key."""

    def ask(seed: int) -> httpx.Response:
        answer = post(guarded, {"n": 2, "seed": seed, "model": "large", "format": "npy"}, authorization=f"Bearer {KEY}")
        assert answer.status_code == 200, answer.text
        return answer

    generated = look(guarded).images("generated")
    first = ask(0)
    assert ask(0).content == first.content
    assert look(guarded).images("generated") == generated + 2
    fitting = int(CACHE_MIB * 2**20 / len(first.content))
    assert fitting < BURST - 3
    for seed in range(1, fitting + 1):
        ask(2 * seed)
    computed = look(guarded).images("generated")
    assert ask(0).content == first.content
    assert look(guarded).images("generated") == computed + 2, "it should have made room for later ones"

    def spend() -> httpx.Response:
        return post(guarded, {}, authorization=f"Bearer {KEY}")

    refused = next(answer for answer in (spend() for _ in range(BURST)) if answer.status_code != 200)
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "rate_limited")
    assert int(refused.headers["retry-after"]) >= 1
    assert post(guarded, {}, authorization=f"Bearer {OTHER}").status_code == 200, "each key has its own burst"


def test_while_the_queue_is_full_nothing_is_read_and_it_is_over_when_there_is_room(serve, trap_models) -> None:
    settings = {"queue_images": 32, "max_batch": 16, "threads": 1, "reload_seconds": 0}
    with serve(models=trap_models / "small", **settings) as service, httpx.Client(base_url=service.url) as client:
        known = post(service, SEEDED)
        with held(service, 1.0), ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(post, service, {"n": 31})
            until(lambda: look(service).waiting == 31, "they wait")
            refused = post(service, {"n": 3})
            assert "31 images are waiting and 3 more would exceed the queue's 32" in refused.json()["error"]["message"]
            unread = [post(service, {}), post(service, "no request"), post(service, {}, path="/interpolate")]
            for answer in (refused, *unread):
                assert (answer.status_code, answer.json()["error"]["code"]) == (429, "queue_full"), answer.text
                assert answer.json()["request_id"] == answer.headers["x-request-id"]
                assert int(answer.headers["retry-after"]) >= 1
            assert "31 images are waiting and the queue of 32 was full" in unread[0].json()["error"]["message"]
            assert post(service, SEEDED, if_none_match=known.headers["etag"]).status_code == 304
            assert client.get("/models").status_code == 200
            assert look(service).total("gan_rejections_total", reason="queue_full") == 4
            assert waiting.result().status_code == 200
        assert post(service, SEEDED).content == known.content
        assert post(service, "no request").status_code == 400


def test_services_with_one_home_leave_each_others_metrics_alone(serve, trap_models, tmp_path: Path) -> None:
    left = tmp_path / "ganworks-metrics" / "left"  # of a service that was killed
    left.mkdir(parents=True)
    os.utime(left, (0, 0))
    with serve(models=trap_models, home=tmp_path, workers=2) as first:
        assert not left.exists()
        assert post(first, {"n": 3}).status_code == 200
        with serve(models=trap_models, home=tmp_path, workers=2) as second:
            assert post(second, {"n": 5}).status_code == 200
            assert [look(each).images("generated") for each in (first, second)] == [3, 5]
        assert look(first).images("generated") == 3
    assert not any((tmp_path / "ganworks-metrics").iterdir())


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """A file system of its own, mounted there."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=8m,mode=1777", "tmpfs", folder]
    mounted = subprocess.run(command, capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip(f"needs the right to mount a file system: {mounted.stderr.decode().strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


def fill(folder: Path) -> None:
    """Until not a page is left."""
    with (folder / "filler").open("wb", buffering=0) as filler, contextlib.suppress(OSError):
        while filler.write(bytes(4096)):
            pass
    assert shutil.disk_usage(folder).free == 0


@pytest.mark.parametrize("workers", [1, 2])
def test_images_come_when_the_disk_is_full_and_the_models_are_gone(serve, tmp_path: Path, workers: int) -> None:
    """The metrics of several workers lie in mapped files: what finds no page for them is killed by the kernel."""
    home, models = tmp_path / "home", tmp_path / "models"
    write_trap(models / "small")
    expected = Direct(models / "small").by_seed([5, 6], 0)[0]

    def answers_rightly(service) -> bool:
        answer = post(service, {"seed": 5, "n": 2, "label": 0, "format": "npy"})
        return answer.status_code == 200 and np.array_equal(read_images("npy", answer.content).images, expected)

    with small_disk(home), serve(models=models, home=home, reload_seconds=0.2, workers=workers) as service:

        def ready() -> int:
            return int(service.log.read_text().count("Completed async startup hook"))

        first = set(service.workers())
        assert len(first) == workers
        until(lambda: ready() == workers, "they are all ready")
        assert answers_rightly(service)
        fill(home)
        for path in (
            "/generate",
            "/models",
            "/models/small",
            "/models/nobody",
            "/v2/models/small",
            "/v2",
            "/docs.json",
        ):
            for method in ("GET", "POST", "DELETE"):  # new series, that is new pages
                assert httpx.request(method, service.url + path, timeout=PATIENCE).status_code < 500
        for wanted in ("json", "png", "webp", "jpeg", "npy", "zip", "ndjson"):
            assert post(service, {"format": wanted, "n": 130}).status_code == 200
        assert set(service.workers()) == first, "a worker died"
        assert look(service).images("generated") >= 7 * 130

        killed = first.pop()
        os.kill(killed, signal.SIGKILL)
        until(lambda: len(set(service.workers()) - {killed}) == workers, "a new worker")
        now = set(service.workers())
        until(lambda: ready() > workers, "it is ready")
        shutil.rmtree(models)
        until(lambda: "goes on being served" in service.log.read_text(), "the models are missed")
        assert all(answers_rightly(service) for _ in range(20))
        if workers == 1:
            assert look(service).images("generated") >= 40, "it counts for itself"
        assert set(service.workers()) == now, "a worker died"
        assert service.log.read_text().count("metrics are kept in memory") == workers - 1
