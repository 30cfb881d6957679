"""Downloads from a real HTTP server that cuts connections, knows no ranges, or has the wrong file; and mnist."""

import gzip
import hashlib
import socket
import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest

from gan_training.data import DataError, download, load_data
from gan_training.data.download import fetch
from gan_training.data.mnist import FASHION_MNIST, MNIST, DownloadedSet
from gan_training.data.source import Request

CONTENT = np.random.default_rng(0).bytes(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves `files` (path -> bytes), and notes each request as (path, Range or None)."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.requests: list[tuple[str, str | None]] = []
        self.knows_ranges = True
        self.shift = 0  # of the first byte of a part
        self.cuts: list[int] = []  # the next responses end after so many bytes

    def url(self, path: str = "/file") -> str:
        return f"http://127.0.0.1:{self.server_port}{path}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.server.requests.append((self.path, asked))
        content = self.server.files.get(self.path)
        if content is None:
            self.send_error(404)
            return
        start = 0
        if asked and self.server.knows_ranges:
            start = int(asked.removeprefix("bytes=").removesuffix("-")) + self.server.shift
            if start >= len(content):
                self.send_error(416)
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        body = content[start:]
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Encoding", "gzip" if body.startswith(b"\x1f\x8b") else "identity")
        self.end_headers()
        self.wfile.write(body[: self.server.cuts.pop(0)] if self.server.cuts else body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Server() as running:
        running.files["/file"] = CONTENT
        thread = Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port that nobody listens on, held so that nobody can."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "set" / "file.gz"


def part_of(target: Path) -> Path:
    return target.with_name(f".{target.name}.part")


def test_a_file_is_downloaded_once_and_its_progress_told(server, target):
    told: list[tuple[int, int]] = []
    fetch([server.url()], target, SHA256, lambda done, total: told.append((done, total)))
    assert target.read_bytes() == CONTENT
    assert told[-1] == (len(CONTENT), len(CONTENT))
    assert {total for _, total in told} == {len(CONTENT)}
    fetch([server.url()], target, SHA256)
    assert server.requests == [("/file", None)]
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize("cuts", [[100_000], [1], [100_000, 50_000, 1, 1000, 3]])
def test_a_cut_connection_goes_on_where_it_broke(server, target, cuts):
    starts = [None, *np.cumsum(cuts).tolist()]
    server.cuts = list(cuts)
    fetch([server.url()], target, SHA256)
    assert target.read_bytes() == CONTENT
    assert server.requests == [("/file", start and f"bytes={start}-") for start in starts]


def test_a_server_without_ranges_sends_it_again_from_the_beginning(server, target):
    server.knows_ranges = False
    server.cuts = [100_000, 200_000]
    fetch([server.url()], target, SHA256)
    assert target.read_bytes() == CONTENT


def test_a_later_attempt_goes_on_from_another_mirror(server, target):
    server.cuts = [100_000, 0]
    with pytest.raises(DataError, match=r"file\.gz can't be downloaded .*/file: "):
        fetch([server.url()], target, SHA256)
    assert not target.exists()
    server.files["/mirror"] = CONTENT
    fetch([server.url("/gone"), server.url("/mirror")], target, SHA256)
    assert target.read_bytes() == CONTENT
    assert server.requests[-2:] == [("/gone", "bytes=100000-"), ("/mirror", "bytes=100000-")]
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize("left", [b"<html>", CONTENT[:-1] + b"?", CONTENT + b"?", CONTENT])
def test_what_is_left_of_a_download_is_used_only_if_it_is_right(server, target, left):
    target.parent.mkdir(parents=True)
    part_of(target).write_bytes(left)
    fetch([server.url()], target, SHA256)
    assert target.read_bytes() == CONTENT
    assert server.requests[1:] == ([] if left == CONTENT else [("/file", None)])


def test_a_part_that_begins_elsewhere_is_not_appended(server, target):
    server.cuts, server.shift = [1000], 1
    with pytest.raises(DataError, match="sent other bytes than those from 1000 on"):
        fetch([server.url()], target, SHA256)


def test_a_file_with_another_checksum_is_refused_and_deleted(server, target):
    server.files["/wrong"] = CONTENT[:-1] + b"?"
    with pytest.raises(DataError, match=r"/wrong: .*another SHA-256"):
        fetch([server.url("/wrong")], target, SHA256)
    assert list(target.parent.iterdir()) == []
    fetch([server.url("/wrong"), server.url()], target, SHA256)
    assert target.read_bytes() == CONTENT


def test_an_address_that_sends_without_end_is_left(server, target, monkeypatch):
    monkeypatch.setattr(download, "MAX_BYTES", 1 << 17)
    with pytest.raises(DataError, match="sends more than 0 MiB"):
        fetch([server.url()], target, SHA256)
    assert list(target.parent.iterdir()) == []


def test_every_address_that_failed_is_named_in_one_line(server, target, closed_port):
    urls = {
        server.url("/nothing"): "HTTP 404 Not Found",
        f"http://127.0.0.1:{closed_port}/file": "refused",
        "ftp://example.org/file": "ftp://",
        "http://127.0.0.1:x/file": "can't be asked",
    }
    with pytest.raises(DataError) as caught:
        fetch(list(urls), target, SHA256)
    message = str(caught.value)
    for url, reason in urls.items():
        assert reason in message.partition(f"{url}: ")[2].partition("; ")[0]
    assert str(target.parent) in message
    assert "GAN_DATA_MIRROR" in message
    assert "\n" not in message


def test_a_folder_that_cannot_be_made_is_named(server, tmp_path):
    (tmp_path / "occupied").touch()
    with pytest.raises(DataError, match=r"occupied.*can't be written \(File exists\); set GAN_CACHE"):
        fetch([server.url()], tmp_path / "occupied" / "file.gz", SHA256)


def test_several_at_once_download_it_once(server, target):
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: fetch([server.url()], target, SHA256), range(4)))
    assert target.read_bytes() == CONTENT
    assert server.requests == [("/file", None)]
    assert list(target.parent.iterdir()) == [target]


def idx_gz(array: np.ndarray) -> bytes:
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return gzip.compress(header + array.astype(np.uint8).tobytes())


TRAIN, TEST = (np.random.default_rng(n).integers(0, 256, (n, 28, 28)) for n in (12, 6))
FILES = {
    "train-images-idx3-ubyte.gz": idx_gz(TRAIN),
    "train-labels-idx1-ubyte.gz": idx_gz(np.arange(12) % 3),
    "t10k-images-idx3-ubyte.gz": idx_gz(TEST),
    "t10k-labels-idx1-ubyte.gz": idx_gz(np.arange(6) % 3),
}
SMALL = DownloadedSet(
    "small",
    ("http://192.0.2.1/never-asked/",),  # an address of RFC 5737, which belongs to nobody
    {name: hashlib.sha256(content).hexdigest() for name, content in FILES.items()},
    ("sock", "shoe", "boot"),
)


def test_a_split_is_downloaded_on_first_use(server, cache, monkeypatch):
    monkeypatch.setenv("GAN_DATA_MIRROR", server.url("/data"))
    server.files |= {f"/data/small/{name}": content for name, content in FILES.items()}
    for argument, images, asked in (("", TRAIN, 2), ("test", TEST, 4), ("train", TRAIN, 4), ("test", TEST, 4)):
        raw = SMALL.load(Request(argument, None, None))
        assert np.array_equal(raw.pixels[..., 0], images)
        assert raw.labels is not None
        assert raw.labels.tolist() == [i % 3 for i in range(len(images))]
        assert raw.class_names == SMALL.class_names
        assert len(server.requests) == asked
    assert sorted(path.name for path in (cache / "small").iterdir()) == sorted(FILES)


@pytest.mark.parametrize("source", ["mnist", "mnist#train", "mnist#test", "fashion-mnist", "fashion-mnist#test"])
def test_the_published_files_and_no_others_are_taken(server, cache, monkeypatch, source):
    name, prefix = source.partition("#")[0], "t10k" if source.endswith("test") else "train"
    monkeypatch.setenv("GAN_DATA_MIRROR", server.url("/"))
    server.files |= {f"/{name}/{file}": content for file, content in FILES.items()}
    url = server.url(f"/{name}/{prefix}-images-idx3-ubyte.gz")
    with pytest.raises(DataError, match=f"{url}: the file there has another SHA-256"):
        load_data(source)
    assert list((cache / name).iterdir()) == []


@pytest.mark.parametrize(("source", "names"), [("mnist", tuple("0123456789")), ("fashion-mnist", None)])
def test_files_that_lie_in_the_cache_need_no_network(cache, monkeypatch, closed_port, source, names):
    monkeypatch.setenv("GAN_DATA_MIRROR", f"http://127.0.0.1:{closed_port}")
    with pytest.raises(DataError, match=rf"train-images.*put the file into {cache / source} by hand"):
        load_data(source)
    images = np.random.default_rng(0).integers(0, 256, (20, 28, 28))
    (cache / source / "train-images.idx3-ubyte").write_bytes(gzip.decompress(idx_gz(images)))
    (cache / source / "train-labels-idx1-ubyte.gz").write_bytes(idx_gz(np.arange(20) % 10))
    data = load_data(source)
    assert np.array_equal(data.images[:, 0].numpy(), images)
    assert data.class_names == (names or FASHION_MNIST.class_names)
    with pytest.raises(DataError, match="t10k-images"):
        load_data(f"{source}#test")


def test_class_names_can_be_names_of_folders():
    assert FASHION_MNIST.class_names is not None
    assert len(set(FASHION_MNIST.class_names)) == 10
    assert all(Path(name).name == name for name in FASHION_MNIST.class_names)


@pytest.mark.parametrize("data_set", [MNIST, FASHION_MNIST], ids=lambda data_set: data_set.name)
def test_both_splits_have_several_mirrors_and_a_checksum_for_each_file(data_set):
    assert sorted(data_set.sha256) == sorted(FILES)
    assert len({int(checksum, 16).to_bytes(32) for checksum in data_set.sha256.values()}) == 4
    assert len(data_set.mirrors) > 1
    assert all(mirror.endswith("/") for mirror in data_set.mirrors)
