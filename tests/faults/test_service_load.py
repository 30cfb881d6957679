"""A running service with many callers at once: who gets what, in which order, and what it costs."""

import asyncio
import concurrent.futures
import contextlib
import json
import os
import random
import signal
import socket
import time
from pathlib import Path

import httpx
import numpy as np
import pytest
from asking import PATIENCE, connect, held, idle, look, post, read_images, request_bytes, slow, until
from trap_artifact import CLASSES, Direct, latents

pytestmark = pytest.mark.slow

BATCH = 64  # GAN_MAX_BATCH
LEAVING = 200  # callers
REQUESTS = 500
BURST, AGAIN = 60, 30  # connections that are opened together, and requests that one sends meanwhile
LONG = 512  # images
BATCH_SECONDS = 0.25  # of a slow batch, about
HOLD = 3.0  # seconds for which a session is occupied, about


@pytest.fixture(scope="module")
def direct(trap_models):
    return Direct(trap_models / "small")


@pytest.fixture(autouse=True)
def _begin_idle(trapped):
    idle(trapped)


def post_all(service, bodies: list[dict[str, object]], meanwhile=None) -> list[httpx.Response]:
    """Answers to all of these, each over its own connection; `meanwhile` is called when all have been sent."""

    async def ask_all() -> list[httpx.Response]:
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
        async with httpx.AsyncClient(base_url=service.url, timeout=10 * PATIENCE, limits=limits) as client:
            tasks = [asyncio.create_task(client.post("/generate", json=body)) for body in bodies]
            if meanwhile is not None:
                await asyncio.to_thread(meanwhile)
            return await asyncio.gather(*tasks)

    return asyncio.run(ask_all())


@pytest.mark.parametrize("n", [1, 3])
def test_a_poisoned_image_fails_alone(trapped, direct, n: int) -> None:
    guilty = 40
    bodies = [
        {
            "latents": latents(n, seed=1000 + n * i, fail=(n - 1,) if i == guilty else ()),
            "label": i % 3,
            "format": "npy",
        }
        for i in range(64)
    ]
    before = look(trapped)
    with held(trapped, HOLD) as holding:

        def all_are_queued() -> None:
            until(lambda: look(trapped).waiting == 64 * n or holding.done(), "all are queued")
            assert not holding.done(), "they were too slow for HOLD"

        answers = post_all(trapped, bodies, all_are_queued)
    failed = answers[guilty]
    assert failed.status_code == 500
    error = failed.json()["error"]
    assert error["code"] == "generation_failed"
    assert error["message"].startswith(f"image {n - 1} could not be generated: ")
    assert "out of data bounds" in error["message"]
    for i, (body, answer) in enumerate(zip(bodies, answers, strict=True)):
        if i != guilty:
            assert answer.status_code == 200, answer.text
            expected = direct.by_latent(body["latents"], [i % 3] * n)
            assert np.array_equal(read_images("npy", answer.content).images, expected), f"request {i}"
    assert look(trapped).images("failed") - before.images("failed") == 1
    assert "generator small: an image could not be generated" in trapped.log.read_text()


def test_callers_who_hang_up_cost_nothing_after_their_images_leave_the_queue(trapped) -> None:
    """Short requests, and long ones of which two parts are in the queue."""
    with held(trapped, HOLD) as holding:
        before = look(trapped)
        clients = [connect(trapped) for _ in range(LEAVING)]
        for i, client in enumerate(clients):
            long = i % 10 == 0
            client.sendall(request_bytes({"n": 512 if long else BATCH, "format": "ndjson" if long else "json"}))
        queued = BATCH * LEAVING + BATCH * LEAVING // 10
        until(lambda: look(trapped).waiting == queued, "all are queued")
        for client in clients:
            client.close()
        until(lambda: look(trapped).waiting == 0, "the queue is empty")
        assert not holding.done(), "they left while the session was occupied; make HOLD longer"
    after = look(trapped)
    assert after.images("generated") - before.images("generated") == 1
    assert after.images("dropped") - before.images("dropped") == queued
    idle(trapped)


def test_callers_who_hang_up_while_they_are_computed_cost_a_batch(trapped, products_for) -> None:
    before = look(trapped)
    clients = [connect(trapped) for _ in range(8)]
    for client in clients:
        client.sendall(request_bytes(slow(LONG, products_for(BATCH_SECONDS), format="ndjson")))
    until(lambda: look(trapped).images("generated") >= before.images("generated") + BATCH, "a batch is computed")
    for client in clients:
        client.close()
    generated = look(trapped).images("generated")
    idle(trapped)
    assert look(trapped).images("generated") <= generated + 4 * BATCH


def test_everybody_gets_his_own_images_in_order(trapped, direct) -> None:
    rng = random.Random(5)
    bodies = []
    for _ in range(REQUESTS):
        n = rng.choice([1, 1, 1, 2, 5, 17, 64, 65, 130])
        body: dict[str, object] = {"format": rng.choice(["npy", "json", "ndjson", "zip"])}
        if rng.random() < 0.5:
            body |= {"n": n, "seed": rng.randrange(2**53 - n)}
        else:
            body |= {"seeds": [rng.randrange(2**53) for _ in range(n)]}
        label = rng.choice([None, rng.randrange(3), rng.choice(CLASSES), [rng.randrange(3) for _ in range(n)]])
        bodies.append(body if label is None else body | {"label": label})
    rejected = look(trapped).total("gan_rejections_total")
    with held(trapped, HOLD):
        answers = post_all(trapped, bodies)
    for body, answer in zip(bodies, answers, strict=True):
        assert answer.status_code == 200, answer.text
        first = body.get("seed")
        seeds = body["seeds"] if first is None else list(range(first, first + body["n"]))
        label = CLASSES.index(body["label"]) if isinstance(body.get("label"), str) else body.get("label")
        images, labels = direct.by_seed(seeds, label)
        shown = read_images(str(body["format"]), answer.content)
        assert np.array_equal(shown.images, images), body
        if shown.seeds is not None:
            assert shown.seeds == seeds
            assert shown.labels == labels.tolist()
    assert look(trapped).total("gan_rejections_total") == rejected


class TestLargeStreams:
    """4,096 images of 64 x 64 in colour: 48 MiB as npy."""

    n = 4096
    bound = 24  # MiB: half of the smallest body, and what the allocator does

    def peak(self, pid: int) -> float:
        """MiB of the process's largest resident size since it was last forgotten."""
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024

    def forget_peak(self, pid: int) -> None:
        Path(f"/proc/{pid}/clear_refs").write_text("5")

    @pytest.mark.parametrize("wanted", ["npy", "ndjson", "zip"])
    def test_memory_is_bounded_by_the_batch(self, trapped, wanted: str) -> None:
        (worker,) = trapped.workers()
        body = {"model": "large", "seed": 0, "format": wanted}
        post(trapped, body | {"n": 4 * BATCH})
        self.forget_peak(worker)
        before, size = self.peak(worker), 0
        with httpx.stream("POST", f"{trapped.url}/generate", json=body | {"n": self.n}, timeout=PATIENCE) as response:
            assert response.status_code == 200
            for piece in response.iter_raw():
                size += len(piece)
        grown = self.peak(worker) - before
        assert size > 2 * self.bound * 2**20
        assert grown < self.bound, f"{grown:.1f} MiB for {size / 2**20:.1f} MiB of {wanted}"

    def test_a_reader_who_stops_holds_nobody_up_and_can_go_on(self, trapped, trap_models) -> None:
        body = {"model": "large", "seed": 7, "n": self.n, "format": "npy"}
        before = look(trapped).images("generated")
        with connect(trapped, SO_RCVBUF=65536) as client:
            client.sendall(request_bytes(body, connection="close"))
            content = bytearray(client.recv(1))
            others, computed = 0, -1

            def stands_still() -> bool:
                nonlocal others, computed
                for _ in range(10):
                    assert post(trapped, {"model": "large", "format": "npy"}).status_code == 200
                    others += 1
                last, computed = computed, look(trapped).images("generated") - before - others
                return computed == last

            until(stands_still, "nothing more is computed for him")
            assert BATCH <= computed < self.n
            while piece := client.recv(2**20):
                content += piece
        head, _, chunked = bytes(content).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200")
        shown = read_images("npy", unchunked(chunked))
        assert len(shown.images) == self.n
        some = [0, 63, 64, 2000, 4095]
        expected, _ = Direct(trap_models / "large").by_seed([7 + i for i in some])
        assert np.array_equal(shown.images[some], expected)


def unchunked(content: bytes) -> bytes:
    """The body of a chunked message (RFC 9112, section 7.1)."""
    pieces, place = [], 0
    while True:
        end = content.index(b"\r\n", place)
        size = int(content[place:end], 16)
        if not size:
            return b"".join(pieces)
        pieces.append(content[end + 2 : end + 2 + size])
        place = end + 2 + size + 2


def test_a_deadline_answers_in_time_and_takes_the_images_out_of_the_queue(trapped) -> None:
    deadline = 0.3  # seconds
    with held(trapped, HOLD) as holding:
        before = look(trapped)
        began = time.monotonic()
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            asked = [pool.submit(post, trapped, {"n": 100}, x_request_timeout=str(deadline)) for _ in range(8)]
            answers = [answer.result() for answer in asked]
        assert time.monotonic() - began >= deadline
        assert not holding.done(), "it was the session that ended the waiting, not the deadline"
        until(lambda: look(trapped).waiting == 0, "the queue is empty")
        after = look(trapped)
    for answer in answers:
        assert (answer.status_code, answer.json()["error"]["code"]) == (504, "deadline")
        assert str(deadline) in answer.json()["error"]["message"]
    assert after.images("generated") == before.images("generated")
    assert after.images("dropped") - before.images("dropped") == 8 * 100
    assert (
        after.total("gan_rejections_total", reason="deadline")
        == before.total("gan_rejections_total", reason="deadline") + 8
    )


@pytest.mark.parametrize("value", ["0", "-1", "nan", "soon", "inf", ""])
def test_a_deadline_must_be_a_number_of_seconds(trapped, value: str) -> None:
    answer = post(trapped, {}, x_request_timeout=value)
    assert answer.status_code == 400
    assert json.loads(answer.text)["error"]["param"] == "x-request-timeout"


def test_connections_that_come_at_once_are_taken_up_together(trapped) -> None:
    (worker,) = trapped.workers()
    with contextlib.ExitStack() as opened:
        clients = [opened.enter_context(connect(trapped))]
        ask(clients[0], ["first"])
        assert answered(clients[0], 1) == 1
        os.kill(worker, signal.SIGSTOP)
        try:
            ask(clients[0], [f"again-{i}" for i in range(AGAIN)])  # each takes a turn of the event loop at least
            for i in range(BURST):
                clients.append(opened.enter_context(connect(trapped)))
                ask(clients[-1], [f"new-{i}"])
        finally:
            os.kill(worker, signal.SIGCONT)
        for client, expected in zip(clients, [AGAIN, *[1] * BURST], strict=True):
            assert answered(client, expected) == expected
    names = {f"new-{i}" for i in range(BURST)}
    until(lambda: names <= set(logged(trapped)), "all are logged")
    order = logged(trapped)
    last = max(map(order.index, names))
    assert sum(name.startswith("again-") for name in order[:last]) < AGAIN / 2


def logged(service) -> list[str]:
    """Ids of the requests for /models, in the order in which they were answered."""
    lines = [line for line in service.log.read_text().splitlines() if line.endswith("}") and '"path":"/models"' in line]
    return [json.loads(line)["request_id"] for line in lines]


def ask(client: socket.socket, request_ids: list[str]) -> None:
    """Requests that follow each other without waiting for answers."""
    asked = [request_bytes(b"", path="/models", method="GET", x_request_id=name) for name in request_ids]
    client.sendall(b"".join(asked))


def answered(client: socket.socket, most: int) -> int:
    """How many responses with status 200 come, up to so many."""
    content = b""
    while (count := content.count(b"HTTP/1.1 200 ")) < most or not content.endswith(b"}]}"):
        piece = client.recv(65536)
        if not piece:
            break
        content += piece
    return count
