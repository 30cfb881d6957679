"""The cache of decoded images between processes: one decodes, a killed one does no harm, memory stays small."""

import hashlib
import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gan_training.data import decoding, load_data

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("cache")]

COUNT = decoding.CACHE_FROM_IMAGES
SIZE = 128
DECODED_BYTES = COUNT * 3 * SIZE * SIZE
LITTLE_MEMORY = 0.6 * DECODED_BYTES
"""Of which most are the threads' own; all in memory would be 1, and a copy on the way 2."""

CHILD = """
import hashlib, json, re, sys
from pathlib import Path
from gan_training.data import load_data

root, size, hold = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "hold"
decoded = 0

def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024

def progress(done, total):
    global decoded
    decoded = done
    if hold and done > total // 2:
        print("half", flush=True)
        sys.stdin.read()

before = peak()
images = load_data(f"folder:{root}", size, progress=progress).images
grown = peak() - before
print(json.dumps([decoded, grown, hashlib.sha256(images.numpy().data).hexdigest()]), flush=True)
"""


def start(root: Path, size: int, mode: str = "") -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, root, str(size), mode], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As many images as are cached: image i is all of one colour."""
    root = tmp_path_factory.mktemp("originals")
    for i in range(COUNT):
        Image.new("RGB", (16, 16), colour(i)).save(root / f"{i}.bmp")
    return root


def colour(i: int) -> tuple[int, int, int]:
    return i % 256, i // 256, 7


def expected_digest(size: int) -> str:
    pixels = np.array([colour(i) for i in range(COUNT)], np.uint8)[:, :, None, None]
    return hashlib.sha256(np.ascontiguousarray(np.broadcast_to(pixels, (COUNT, 3, size, size)))).hexdigest()


def names(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.iterdir())


def test_two_processes_share_one_decode_in_little_memory(originals, cache):
    processes = [start(originals, SIZE) for _ in range(2)]
    results = sorted(json.loads(process.communicate(timeout=120)[0]) for process in processes)
    assert [decoded for decoded, _, _ in results] == [0, COUNT]
    assert all(digest == expected_digest(SIZE) for _, _, digest in results)
    assert all(grown < LITTLE_MEMORY for _, grown, _ in results)
    assert len(names(cache)) == 1


def test_a_killed_process_leaves_nothing_that_is_read(originals, cache):
    with start(originals, 20, "hold") as killed, start(originals, 24, "hold") as other:
        assert killed.stdout is not None
        assert other.stdout is not None
        assert killed.stdout.readline() == other.stdout.readline() == "half\n"
        unfinished = names(cache)
        assert len(unfinished) == 2
        assert all(name.startswith(".pixels-") and name.endswith(".part") for name in unfinished)
        waiting = start(originals, 20)
        killed.send_signal(signal.SIGKILL)
        decoded, _, digest = json.loads(waiting.communicate(timeout=120)[0])
        assert (decoded, digest) == (COUNT, expected_digest(20))
        # The process that lives keeps its unfinished file. Once it's dead, whoever makes room next removes that.
        assert [name.endswith(".part") for name in names(cache)] == [True, False]
        other.send_signal(signal.SIGKILL)
        other.wait()
    load_data(f"folder:{originals}", 28)
    assert not [name for name in names(cache) if name.endswith(".part")]
