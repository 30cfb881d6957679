"""Workers that listen on one socket: each takes its part of the connections, and nobody's are lost."""

import contextlib
import mmap
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from asking import connect, until, until_accepted, worker_of
from ports import free_port

from gan_serving.connections import accept
from gan_serving.connections.accept import Backlog
from gan_serving.connections.connection import guarded_protocol
from gan_serving.connections.connection_counts import ConnectionCounts
from gan_serving.connections.limits import Limits

PATIENCE = 20.0  # seconds, for what must happen
LONG = 1.0  # seconds, in which nothing must happen
BURSTS = 12
GOOD = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
HOLD = """
import sys, time
from pathlib import Path
from gan_serving.connections.connection_counts import ConnectionCounts
counts = ConnectionCounts(Path(sys.argv[1]), int(sys.argv[2]))
counts.own = int(sys.argv[3])
print("holds", flush=True)
time.sleep(60)
"""


class Pair:
    """A worker in a thread of its own, and what the other one's count says."""

    def __init__(self, folder: Path, port: int, most: int) -> None:
        self.backlog, self.path, self.refused = Backlog(), folder / "connections", list[str]()
        self.backlog.counts = self.counts = ConnectionCounts(self.path, 2)
        limits = Limits(
            header_timeout=10, send_timeout=60, max_header=2**14, max_stream=2**25, max_connections=most,
            refused=self.refused.append,
        )  # fmt: skip
        protocol = guarded_protocol(limits, self.backlog)
        config = uvicorn.Config(self._application, port=port, http=protocol, lifespan="off", log_config=None)
        self.backlog.server = self.server = uvicorn.Server(config)
        self._opened: list[socket.socket] = []

    @staticmethod
    async def _application(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})

    def other(self, connections: int) -> None:
        with self.path.open("r+b") as file, mmap.mmap(file.fileno(), 8) as shared:
            struct.pack_into("I", shared, 4, connections)

    def connect(self) -> socket.socket:
        client = socket.create_connection(("127.0.0.1", self.server.config.port), PATIENCE)
        self._opened.append(client)
        return client

    def disconnect(self) -> None:
        while self._opened:
            self._opened.pop().close()

    def take_over(self) -> None:
        """The first connection has the loop's own listening replaced."""
        before = self.server.servers[0]
        ask(self.connect())
        until(lambda: self.server.servers[0] is not before, "the worker listens itself")


@contextlib.contextmanager
def pair(folder: Path, most: int = 0) -> Iterator[Pair]:
    port = free_port()
    made = Pair(folder, port, most)
    thread = threading.Thread(target=made.server.run)
    thread.start()
    try:
        until(lambda: made.server.started, "the worker starts")
        yield made
    finally:
        made.disconnect()
        made.server.should_exit = True
        thread.join(PATIENCE)
    assert not thread.is_alive()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), PATIENCE)


def ask(client: socket.socket) -> None:
    client.sendall(GOOD)
    content = b""
    while not content.endswith(b"ok"):
        piece = client.recv(4096)
        assert piece, content
        content += piece


@contextlib.contextmanager
def holding(path: Path, workers: int, connections: int) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", HOLD, str(path), str(workers), str(connections)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "holds\n"
        try:
            yield process
        finally:
            process.kill()


def test_a_worker_that_is_behind_takes_all_of_its_part(tmp_path: Path):
    with pair(tmp_path) as worker:
        worker.take_over()
        worker.other(100)
        clients = [worker.connect() for _ in range(40)]
        for client in clients:
            ask(client)
        until(lambda: worker.counts.own == 41, "41 connections are counted")
        worker.disconnect()
        until(lambda: worker.counts.own == 0, "no connection is counted")


def test_a_worker_that_is_ahead_leaves_connections_to_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(accept, "PATIENCE", LONG)
    with pair(tmp_path) as worker:
        worker.take_over()
        (listening,) = worker.server.servers[0].sockets
        clients = [worker.connect() for _ in range(3)]
        time.sleep(LONG / 4)
        taken = set()
        with socket.fromfd(listening.fileno(), listening.family, listening.type) as shared:
            for _ in clients:  # what the other worker does
                connection, address = shared.accept()
                connection.close()
                taken.add(address)
        assert taken == {client.getsockname() for client in clients}
        assert worker.counts.own == 1
        worker.other(4)
        ask(worker.connect())
        until(lambda: worker.counts.own == 2, "both are counted once")  # twice while one is being opened


def test_what_the_other_worker_does_not_take_is_taken_after_a_moment(tmp_path: Path):
    with pair(tmp_path) as worker:
        worker.take_over()
        clients = [worker.connect() for _ in range(100)]
        for client in clients:  # the other one has none, and never looks
            ask(client)
        until(lambda: worker.counts.own == 101, "all are counted once")


def test_a_worker_that_is_full_refuses_and_says_so(tmp_path: Path):
    with pair(tmp_path, most=2) as worker:
        worker.take_over()
        worker.other(100)
        ask(worker.connect())
        for _ in range(3):
            client = worker.connect()
            assert client.recv(4096).startswith(b"HTTP/1.1 503")
        assert worker.refused == ["too_many_connections"] * 3


@pytest.mark.slow
def test_each_worker_of_a_service_has_its_part_of_connections_that_come_together(serve, trap_models):
    def smaller_part() -> int:
        """Of a burst of 8: 4 where both workers have a processor, 0 or 1 where the first takes all."""
        with contextlib.ExitStack() as opened:
            clients = [opened.enter_context(connect(service)) for _ in range(8)]
            until_accepted(service, clients)
            owners = worker_of(service, clients)
        return min(owners.count(pid) for pid in service.workers())

    with serve(models=trap_models, default_model="small", workers=2) as service:
        # On a busy machine a worker may have no processor for a whole series; one that never gets its part fails each.
        assert any(sum(smaller_part() for _ in range(BURSTS)) >= 2 * BURSTS for _ in range(3))


def test_a_place_is_for_one_process_and_free_when_that_is_killed(tmp_path: Path):
    path = tmp_path / "connections"
    with holding(path, 2, 7) as first, holding(path, 2, 9):
        with pytest.raises(OSError, match="2 workers have a place already"):
            ConnectionCounts(path, 2)
        first.send_signal(signal.SIGKILL)
        first.wait()
        mine = ConnectionCounts(path, 2)
        assert (mine.own, mine.others()) == (0, [9])
        mine.own = 3
        assert struct.unpack("2I", path.read_bytes()) == (3, 9)
