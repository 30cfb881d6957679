"""SIGTERM under load, and a worker that is killed: what was taken is finished, and nothing else is lost."""

import concurrent.futures
import contextlib
import http.client
import json
import os
import select
import signal
import socket
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from asking import (
    connect,
    held,
    idle,
    look,
    post,
    read_images,
    request_bytes,
    slow,
    until,
    until_accepted,
    worker_of,
)
from hanging import hanging
from toy_artifact import write_artifact
from trap_artifact import Direct, latents

pytestmark = pytest.mark.slow

EXIT_SECONDS = 10.0
DRAIN = 4  # seconds, GAN_DRAIN of the service that a client holds up
SHORT, LONG = 12, 256  # requests, and images of the one that streams
WORK = 1.5  # seconds of what is under way when the signal comes, about


def read_all(client: socket.socket) -> tuple[int, bytes]:
    """Status and body of a response; fails when it is not complete."""
    response = http.client.HTTPResponse(client)
    response.begin()
    return response.status, response.read()


def seconds_to_exit(service, began: float) -> float:
    service.process.wait(3 * EXIT_SECONDS)
    return time.monotonic() - began


def is_refused(service) -> bool:
    try:
        connect(service).close()
    except ConnectionRefusedError:
        return True
    return False


@pytest.mark.parametrize("workers", [1, 2])
def test_what_was_taken_is_finished_and_nothing_else_is_taken(serve, trap_models, products_for, workers: int) -> None:
    direct = Direct(trap_models / "small")
    with (
        serve(models=trap_models, default_model="small", workers=workers) as service,
        contextlib.ExitStack() as opened,
    ):
        products = products_for(WORK / (LONG / 64 + 1))
        first = products_for(2 * WORK)  # which the others wait for, in its worker
        clients = [opened.enter_context(connect(service)) for _ in range(SHORT + 1)]
        for i, client in enumerate(clients[:-1]):
            client.sendall(request_bytes(slow(1, products if i else first)))
        clients[-1].sendall(request_bytes(slow(LONG, products, format="ndjson")))
        open_requests = SHORT + 1 + 1  # and the look itself
        until(
            lambda: look(service).total("bentoml_service_request_in_progress") == open_requests, "all have been taken"
        )
        idle_connection = opened.enter_context(connect(service))
        began = time.monotonic()
        service.process.send_signal(signal.SIGTERM)
        until(lambda: is_refused(service), "new connections are refused")
        assert not select.select(clients[:1], [], [], 0)[0], "they were accepted until the last answer was there"
        with concurrent.futures.ThreadPoolExecutor(SHORT + 1) as pool:
            answers = list(pool.map(read_all, clients))
        with contextlib.suppress(ConnectionResetError):  # no worker had taken it up
            assert idle_connection.recv(1) == b""
        assert seconds_to_exit(service, began) < EXIT_SECONDS
        for status, content in answers[:-1]:
            assert status == 200
            assert np.array_equal(read_images("npy", content).images, direct.by_latent(latents(1), [0]))
        status, content = answers[-1]
        assert status == 200
        expected = direct.by_latent(latents(LONG), [0] * LONG)
        assert np.array_equal(read_images("ndjson", content).images, expected)
        assert "Traceback" not in service.log.read_text()


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_end_after_the_process_that_started_them_was_killed(
    serve, trap_models, products_for, workers: int
) -> None:
    direct = Direct(trap_models / "small")
    with (
        serve(models=trap_models, default_model="small", workers=workers) as service,
        connect(service) as client,
    ):
        products = products_for(WORK / (LONG / 64 + 1))
        client.sendall(request_bytes(slow(LONG, products, format="ndjson")))
        until(lambda: look(service).total("bentoml_service_request_in_progress") == 2, "it has been taken")
        service.process.kill()
        service.process.wait()
        status, content = read_all(client)
        assert status == 200
        expected = direct.by_latent(latents(LONG), [0] * LONG)
        assert np.array_equal(read_images("ndjson", content).images, expected)
        until(lambda: not service.pids(), "no process is left")


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_that_have_only_begun_to_start_end_then_too(serve, trap_models, workers: int) -> None:
    with serve(models=trap_models, workers=workers, wait=False) as service:
        until(lambda: len(service.workers()) == workers, "they have begun to start")
        service.process.kill()
        service.process.wait()
        until(lambda: not service.pids(), "no process is left")
        assert is_refused(service)


@pytest.mark.parametrize("path", ["/generate", "/v2/models/small/infer"])
def test_who_is_not_answered_when_the_time_is_over_is_told_to_come_again(
    serve, trap_models, products_for, path: str
) -> None:
    rows = latents(1, products=products_for(4 * WORK))
    z = {"name": "z", "datatype": "FP32", "shape": [1, len(rows[0])], "data": rows}
    label = {"name": "label", "datatype": "INT64", "shape": [1], "data": [0]}
    body = {"inputs": [z, label]} if path.startswith("/v2") else {"latents": rows, "label": 0}
    with serve(models=trap_models, default_model="small", drain=0.5) as service, connect(service) as client:
        client.sendall(request_bytes(body, path=path))
        until(lambda: look(service).total("bentoml_service_request_in_progress") == 2, "it has been taken")
        service.process.send_signal(signal.SIGTERM)
        status, content = read_all(client)
        said = json.loads(content)
        code, message = (
            (said["code"], said["error"])
            if path.startswith("/v2")
            else (said["error"]["code"], said["error"]["message"])
        )
        assert (status, code) == (503, "not_ready")
        assert "GAN_DRAIN" in message
        service.process.wait(3 * EXIT_SECONDS)
        log = service.log.read_text()
        assert "Traceback" not in log
        (line,) = (json.loads(line) for line in log.splitlines() if said["request_id"] in line and line[0] == "{")
        assert (line["path"], line["status"]) == (path, 503)


def test_a_client_that_never_reads_holds_the_end_up_for_a_bounded_time(serve, trap_models) -> None:
    with (
        serve(models=trap_models, default_model="small", drain=DRAIN) as service,
        connect(service, SO_RCVBUF=65536) as client,
    ):
        client.sendall(request_bytes({"model": "large", "n": 4096, "format": "npy"}))
        assert client.recv(12) == b"HTTP/1.1 200"
        with connect(service) as other:
            other.sendall(request_bytes({"seed": 1, "format": "npy"}))
            assert read_all(other)[0] == 200
        began = time.monotonic()
        service.process.send_signal(signal.SIGTERM)
        assert seconds_to_exit(service, began) < EXIT_SECONDS


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_that_hang_while_they_load_end_when_they_are_told_to(serve, tmp_path, workers: int) -> None:
    for name in ("first", "hangs"):  # the first one is what `bentoml serve` itself reads
        write_artifact(tmp_path / name)
    with (
        hanging(tmp_path / "hangs" / "generator.onnx") as waits,
        serve(models=tmp_path, workers=workers, wait=False) as service,
    ):
        try:
            until(lambda: waits.is_set() or service.process.poll() is not None, "a worker reads the file that hangs")
        finally:
            print(service.log.read_text(), Path("/proc/locks").read_text())  # what there is to see where it did not
        assert waits.is_set(), "it ended before"
        began = time.monotonic()
        service.process.send_signal(signal.SIGTERM)
        assert seconds_to_exit(service, began) < EXIT_SECONDS
        assert "Traceback" not in service.log.read_text()


def test_a_signal_that_comes_while_workers_are_started_is_not_lost(serve) -> None:
    with serve(workers=3, wait=False) as service:
        starter, end = psutil.Process(service.process.pid), time.monotonic() + 3 * EXIT_SECONDS
        while not starter.children() and time.monotonic() < end:
            time.sleep(0.002)
        assert service.process.poll() is None, service.log.read_text()
        assert starter.children()
        began = time.monotonic()
        service.process.send_signal(signal.SIGTERM)
        assert seconds_to_exit(service, began) < EXIT_SECONDS


def test_a_killed_worker_is_replaced_and_only_its_requests_fail(serve, trap_models, products_for) -> None:
    direct = Direct(trap_models / "small")
    with serve(models=trap_models, default_model="small", workers=2) as service, contextlib.ExitStack() as opened:
        first = service.workers()
        assert len(first) == 2
        clients: list[socket.socket] = []
        while len(set(worker_of(service, clients)) - {None}) < 2:
            assert len(clients) < 500
            clients += [opened.enter_context(connect(service)) for _ in range(8)]
            for client in clients[-8:]:
                client.sendall(request_bytes(slow(1, products_for(WORK))))
            until_accepted(service, clients)
        owners = worker_of(service, clients)
        killed = first[0]
        os.kill(killed, signal.SIGKILL)
        answered, lost = 0, 0
        for client, owner in zip(clients, owners, strict=True):
            try:
                status, content = read_all(client)
            except (OSError, http.client.HTTPException):
                assert owner == killed, "a request of the other worker was lost"
                lost += 1
                continue
            assert status == 200
            assert np.array_equal(read_images("npy", content).images, direct.by_latent(latents(1), [0]))
            answered += 1
        assert answered
        assert lost
        opened.close()

        def is_replaced() -> bool:
            now = service.workers()
            return len(now) == 2 and killed not in now

        until(is_replaced, "the worker is replaced")
        (new,) = set(service.workers()) - set(first)

        def new_one_answers() -> bool:
            with connect(service) as client:
                client.sendall(request_bytes({"seed": 3, "label": 0, "format": "npy"}))
                until_accepted(service, [client])
                owner = worker_of(service, [client])[0]
                status, content = read_all(client)
            assert status == 200
            assert np.array_equal(read_images("npy", content).images, direct.by_seed([3], 0)[0])
            return owner == new

        until(new_one_answers, "the new worker answers")
        idle(service)  # nothing of the killed one is left in the sums, which autoscalers follow
        with held(service, 0.2):
            assert post(service, {"n": 1}).status_code == 200
