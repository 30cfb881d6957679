"""hf:OWNER/NAME from a real HTTP server with the Hub's calls: columns, splits, labels, and what can be wrong."""

import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import unquote, urlsplit

import pytest
from commands import PYTHON

pytestmark = pytest.mark.slow

BUILD = """
import io, sys, tarfile
from pathlib import Path
import numpy as np
from PIL import Image as Pillow
from datasets import ClassLabel, Dataset, Features, Image, Value

ROOT = Path(sys.argv[1])

def encoded(kind, *colour):
    file = io.BytesIO()
    Pillow.fromarray(np.full((32, 32, len(colour)), colour, np.uint8).squeeze()).save(file, kind)
    return {"bytes": file.getvalue(), "path": None}

def write(name, features, split="train", **columns):
    file = ROOT / name / "data" / f"{split}-00000-of-00001.parquet"
    file.parent.mkdir(parents=True, exist_ok=True)
    Dataset.from_dict(columns, features=Features(features)).to_parquet(file)

def greys(count):
    return [encoded("PNG", i) for i in range(count)]

three = ClassLabel(names=["zero", "one", "two"])
for split, count in (("train", 30), ("test", 6)):
    labels = [i % 3 for i in range(count)]
    write("me/digits", {"image": Image(), "label": three}, split, image=greys(count), label=labels)
write("me/held-back", {"image": Image(), "label": three}, "validation", image=greys(4), label=[-1] * 4)
for split in ("one", "other"):
    write("me/odd", {"picture": Image(), "label": Value("int64")}, split, picture=greys(4), label=[1, 0, 1, 0])
write(
    "me/birds",
    {"photo": Image(), "mask": Image(), "kind": ClassLabel(names=["a", "b"]), "order": ClassLabel(names=["x", "y"]),
     "species": Value("string"), "weight": Value("float32"), "gaps": Value("int64")},
    photo=[encoded("JPEG", 200, 50, 50 + i) for i in range(4)], mask=greys(4), kind=[0, 1, 1, 0], order=[0, 0, 1, 1],
    species=["wren", "owl", "owl", "wren"], weight=[0.1] * 4, gaps=[0, None, 1, 1],
)
write("me/torn", {"image": Image()}, image=[*greys(2), {"bytes": b"no image", "path": None}])
write("me/holes", {"image": Image()}, image=[*greys(2), None])
write("me/text", {"text": Value("string")}, text=["a", "b"])
write("me/many", {"image": Image()}, image=greys(200) * 10)
for name in ("first", "second"):
    write(f"me/two/{name}", {"image": Image()}, image=greys(2 if name == "first" else 3))
(ROOT / "me/two/README.md").write_text('''---
configs:
- config_name: first
  data_files: first/data/*
- config_name: second
  data_files: second/data/*
---
''')
(ROOT / "me/shards").mkdir()
with tarfile.open(ROOT / "me/shards/shard-000000.tar", "w") as shard:
    for i, image in enumerate(greys(4)):
        for kind, content in {"png": image["bytes"], "cls": b"%d" % (i % 2), "json": b'{"seed": %d}' % i}.items():
            file = tarfile.TarInfo(f"{i:09}.{kind}")
            file.size = len(content)
            shard.addfile(file, io.BytesIO(content))
Dataset.from_dict({"image": greys(4)}, features=Features({"image": Image()})).save_to_disk(ROOT / "me/saved")
(ROOT / "me/script").mkdir()
(ROOT / "me/script/script.py").write_text(f"open({str(ROOT / 'was-run')!r}, 'w')")
"""

LOAD = """
import json, sys
from gan_training.data import DataError, load_data
for line in sys.stdin:
    try:
        data = load_data(json.loads(line))
        labels = None if data.labels is None else data.labels.tolist()
        first = data.images[:, :, 0, 0].tolist()
        print(json.dumps([list(data.images.shape), labels, list(data.class_names), first]), flush=True)
    except DataError as error:
        print(json.dumps(str(error)), flush=True)
"""

Loaded = tuple[list[int], list[int] | None, list[str], list[list[int]]]
"""Shape (N, C, H, W), labels, class names, and each image's first pixel."""
LoadFn = Callable[[str], Loaded | str]
"""What a source holds, or what the error says."""


class Hub(ThreadingHTTPServer):
    """Serves OWNER/NAME folders below `root` as the Hub serves data sets, and notes each request."""

    def __init__(self, root: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.root = root
        self.requests: list[str] = []


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def do_GET(self) -> None:
        self.server.requests.append(f"{self.command} {self.path}")
        path = unquote(urlsplit(self.path).path)
        found = re.fullmatch(r"(?:/api)?/datasets/(\w+/[\w-]+)(?:/(revision|tree|resolve)/(\w+)(?:/(.*))?)?", path)
        repository = self.server.root / (found[1] if found else "-")
        if found is None or not repository.is_dir():
            self.send(404, b"", {"X-Error-Code": "RepoNotFound"})
            return
        file = repository / (found[4] or "")
        if found[2] == "resolve":
            headers = {"X-Repo-Commit": revision(repository)}
            if file.is_file():
                self.send(200, file.read_bytes(), headers | {"ETag": f'"{digest(file)}"'})
            else:
                self.send(404, b"", headers | {"X-Error-Code": "EntryNotFound"})
        elif found[2] == "tree":
            entries = sorted(file.iterdir()) if file.is_dir() else []
            self.send(200, json.dumps([describe(entry, repository) for entry in entries]).encode())
        else:
            self.send(200, json.dumps({"id": found[1], "sha": revision(repository), "siblings": []}).encode())

    def do_HEAD(self) -> None:
        self.do_GET()

    def send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def digest(file: Path) -> str:
    return hashlib.sha1(file.read_bytes()).hexdigest()


def revision(repository: Path) -> str:
    files = sorted(path for path in repository.rglob("*") if path.is_file())
    return hashlib.sha1("".join(map(digest, files)).encode()).hexdigest()


def describe(path: Path, repository: Path) -> dict[str, object]:
    kind = {"path": str(path.relative_to(repository)), "size": path.stat().st_size}
    return kind | ({"type": "file", "oid": digest(path)} if path.is_file() else {"type": "directory", "oid": "0" * 40})


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def hub(home: Path) -> Iterator[Hub]:
    (home / "repositories").mkdir()
    with Hub(home / "repositories") as server:
        subprocess.run([sys.executable, "-c", BUILD, str(server.root)], check=True, env=environment(home, server))
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def environment(home: Path, hub: Hub, **more: str) -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    folders = {"HF_HOME": str(home / "hub"), "GAN_CACHE": str(home / "cache")}
    return own | folders | {"HF_ENDPOINT": f"http://127.0.0.1:{hub.server_port}"} | more


@pytest.fixture(scope="module")
def load(home: Path, hub: Hub) -> Iterator[LoadFn]:
    """One process for all: the package takes seconds to import."""
    command = [sys.executable, "-c", LOAD]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment(home, hub), cwd=home
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        asked, answered = process.stdin, process.stdout

        def ask(source: str) -> Loaded | str:
            print(json.dumps(source), file=asked, flush=True)
            answer = json.loads(answered.readline())
            return answer if isinstance(answer, str) else tuple(answer)

        yield ask
        asked.close()


def test_train_is_the_split_and_labels_have_their_names(load):
    shape, labels, names, first = load("hf:me/digits")
    assert shape == [30, 1, 32, 32]
    assert labels == [0, 1, 2] * 10
    assert names == ["zero", "one", "two"]
    assert first == [[i] for i in range(30)]


def test_splits_and_parts_of_them_that_are_asked_for(load):
    assert load("hf:me/digits#test")[0] == [6, 1, 32, 32]
    assert load("hf:me/digits#train[6:12]")[3] == [[i] for i in range(6, 12)]


def test_the_only_split_is_taken(load):
    shape, labels, names, _ = load("hf:me/held-back?label=none")
    assert (shape, labels, names) == ([4, 1, 32, 32], None, [])


def test_integers_called_label_and_a_column_of_another_name(load):
    shape, labels, names, _ = load("hf:me/odd#one")
    assert (shape, labels, names) == ([4, 1, 32, 32], [1, 0, 1, 0], ["0", "1"])


def test_webdataset_calls_its_labels_cls(load, hub):
    shape, labels, names, _ = load(f"hf:{hub.root}/me/shards")
    assert (shape, labels, names) == ([4, 1, 32, 32], [0, 1, 0, 1], ["0", "1"])


@pytest.mark.parametrize(
    ("label", "labels", "names"),
    [
        ("kind", [0, 1, 1, 0], ["a", "b"]),
        ("order", [0, 0, 1, 1], ["x", "y"]),
        ("species", [1, 0, 0, 1], ["owl", "wren"]),
    ],
)
def test_colour_and_a_column_of_labels_that_is_asked_for(load, label, labels, names):
    shape, *loaded, first = load(f"hf:me/birds?image=photo&label={label}")
    assert (shape, loaded) == ([4, 3, 32, 32], [labels, names])
    assert all(abs(red - 200) < 5 and abs(green - 50) < 5 for red, green, _ in first)  # JPEG is lossy
    assert load(f"hf:me/birds?image=mask&label={label}")[0] == [4, 1, 32, 32]


def test_a_configuration_and_a_folder_of_the_same_files(load, hub):
    assert load("hf:me/two?config=second")[0] == [3, 1, 32, 32]
    assert load(f"hf:{hub.root}/me/digits#test") == load("hf:me/digits#test")


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("hf:me/nobody", "doesn't exist on the Hub or cannot be accessed"),
        ("hf:me/digits#dev", "Unknown split \"dev\". Should be one of ['train', 'test']"),
        ("hf:me/odd", "no split 'train'; add one of #one, #other"),
        ("hf:me/two", "['first', 'second'] (choose with '?config=NAME')"),
        ("hf:me/two?config=third", "Available: ['first', 'second'] (choose with '?config=NAME')"),
        ("hf:me/held-back", "labels of this split are withheld; add '?label=none'"),
        ("hf:me/birds", "which images? choose from photo, mask; add '?image=COLUMN'"),
        ("hf:me/birds?image=mask", "which labels? choose from kind, order; add '?label=COLUMN'"),
        ("hf:me/birds?image=kind", "no column of images is called 'kind'; choose from photo, mask"),
        ("hf:me/birds?image=mask&label=weight", "called 'weight'; choose from kind, order, species, gaps"),
        ("hf:me/birds?image=mask&label=gaps", "1 rows have no 'gaps'"),
        ("hf:me/torn", "hf:me/torn: image 2: can't be read as an image (no image format is recognised)"),
        ("hf:me/holes", "hf:me/holes: image 2: the row holds none"),
        ("hf:me/text", "no column of images; its columns are text"),
        ("hf:me/script", "scripts are no longer supported"),
        ("hf:csv", "'csv' is not the name of a data set; write hf:OWNER/NAME"),
        ("hf:./nowhere", "nowhere doesn't exist"),
        ("hf:me/digits?split=test", "split=test isn't understood"),
        ("hf:me/digits?label=", "label= isn't understood"),
    ],
)
def test_what_is_wrong_is_one_line(load, hub, source, words):
    said = load(source)
    assert isinstance(said, str)
    assert words in said
    assert "\n" not in said
    assert not (hub.root / "was-run").exists()


def test_what_save_to_disk_wrote_has_to_be_parquet(load, hub):
    assert "saved: was written by save_to_disk, whose files are not read here; write Parquet" in load(
        f"hf:{hub.root}/me/saved"
    )


def test_gan_train_without_labels_says_how_to_name_their_column(home, hub, tmp_path):
    command = [PYTHON, "-m", "gan_training", "--type", "cgan", "--data", "hf:me/two?config=first", "--out", "out"]
    done = subprocess.run(
        command, env=environment(home, hub), cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "use --type dcgan or wgan, or name the column that has them: '?label=COLUMN'" in done.stderr


def test_many_images_are_decoded_once_and_anew_when_they_change(load, home, hub):
    def kept() -> dict[Path, int]:
        return {path: path.stat().st_ino for path in (home / "cache").glob("pixels-*")}

    before = kept()
    first = load("hf:me/many")
    assert first[0] == [2000, 1, 32, 32]
    once = kept()
    assert len(once) == len(before) + 1
    assert load("hf:me/many") == first
    assert kept() == once
    [parquet] = (hub.root / "me/many/data").iterdir()
    parquet.write_bytes((hub.root / "me/digits/data/train-00000-of-00001.parquet").read_bytes())
    assert load("hf:me/many")[0] == [30, 1, 32, 32]


def test_gan_train_takes_it_and_asks_nobody_when_offline(load, home, hub, tmp_path):
    assert load("hf:me/digits#test")[0] == [6, 1, 32, 32]  # in the cache now, with its other splits
    hub.requests.clear()
    program = Path(PYTHON).with_name("gan-train")
    done = subprocess.run(
        [program, "--type", "cgan", "--data", "hf:me/digits", "--out", "run", "--steps", "2", "--batch-size", "8"],
        cwd=tmp_path,
        env=environment(home, hub, HF_HUB_OFFLINE="1"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run/ckpt.pt").is_file()
    assert hub.requests == []


def test_without_the_package_it_says_what_to_install():
    code = "import sys; sys.modules['datasets'] = None; " + LOAD
    done = subprocess.run([sys.executable, "-c", code], input='"hf:a/b"\n', capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == ("hf:a/b: needs the package datasets; pip install 'ganworks[hf]'")
