"""Bodies that are small on the wire and large in memory: refused by counting, before anything is made of them."""

import contextlib
import re
import select
from pathlib import Path

import httpx
import numpy as np
import pytest
from asking import PATIENCE, connect, post, read_images
from trap_artifact import CLASSES, Direct, latents

from gan_serving.settings import Settings

pytestmark = pytest.mark.slow

COUNT = 2_000_000  # values of a body of nearly 16 MiB
SPARE_BYTES = 200 * 2**20  # that a worker may take for a moment; the lists of these bodies would be a GiB
MAX_N = 4096  # GAN_MAX_N


def peak(pid: int) -> int:
    """The most memory that a process has had, in bytes."""
    (kib,) = re.findall(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(kib) * 1024


@pytest.mark.parametrize("path", ["/generate", "/interpolate", "/latents"])
@pytest.mark.parametrize(
    ("begin", "piece", "end", "mark"),
    [
        (b'{"latents":[', b"[0]", b"]}", "["),
        (b'{"seeds":[', b"{}", b"]}", "{"),
        (b"{", b'"":0', b"}", ":"),
        (b'{"seeds":[', b"0", b"]}", ","),
    ],
    ids=["rows", "objects", "fields", "numbers"],
)
def test_more_values_than_a_request_can_have_are_counted_and_not_made(
    trapped, path: str, begin: bytes, piece: bytes, end: bytes, mark: str
) -> None:
    (worker,) = trapped.workers()
    before = peak(worker)
    body = begin + b",".join([piece] * COUNT) + end
    answer = httpx.post(trapped.url + path, content=body, timeout=PATIENCE)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["code"] == "invalid_request"
    assert f"{mark!r}, more than any request here needs (" in error["message"]
    assert peak(worker) < before + SPARE_BYTES


def test_the_longest_requests_are_answered(trapped, trap_models) -> None:
    rows = latents(MAX_N)
    answer = post(trapped, {"latents": rows, "label": 1, "format": "npy"})
    assert answer.status_code == 200, answer.text
    expected = Direct(trap_models / "small").by_latent(rows, [1] * MAX_N)
    assert np.array_equal(read_images("npy", answer.content).images, expected)
    seeds = [2**53 - 1 - i for i in range(MAX_N)]
    answer = post(trapped, {"seeds": seeds, "label": [CLASSES[1]] * MAX_N, "format": "npy"})
    assert answer.status_code == 200, answer.text
    expected, _ = Direct(trap_models / "small").by_seed(seeds, [1] * MAX_N)
    assert np.array_equal(read_images("npy", answer.content).images, expected)


def test_bodies_of_many_connections_take_no_more_than_their_share(trapped) -> None:
    (worker,) = trapped.workers()
    before = peak(worker)
    most = Settings.model_fields["max_bodies"].default
    size = 2**24 - 2**18  # each lacks its end
    piece, refused = b" " * 2**18, 0
    with contextlib.ExitStack() as stack:
        for _ in range(3 * most // size):
            client = stack.enter_context(connect(trapped))
            client.sendall(b"POST /generate HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % 2**24)
            sent = 0
            while sent < size and not select.select([client], [], [], 0)[0]:
                client.sendall(piece)
                sent += len(piece)
            if sent < size:
                answer = client.recv(65536)
                assert answer.startswith(b"HTTP/1.1 503 ")
                assert b"too_many_bodies" in answer
                refused += 1
        assert refused >= most // size
        assert peak(worker) < before + most + SPARE_BYTES / 2
        assert post(trapped, {"n": 1}).status_code == 200, "a small request finds room all the same"
