"""Graphs that cost their reader too much, and files cut off or changed: what the process that reads makes of them."""

import json
import os
import random
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import onnx
import pytest
from graph_faults import HUGE, changed, external, graph, part

from gan_export.graphs.reading import GraphLimits, read_graph
from gan_export.graphs.signature import GraphOptions
from gan_export.refusal import IntakeError

pytestmark = pytest.mark.slow
GIB = 2**30
CUTS = 20
MUTANTS = 200

CONSTANT = "big = ConstantOfShape(much) \n s = ReduceSum<keepdims=0>(big) \n t = Mul(s, none) \n a = Add(h, t)"
MUCH = f", int64[1] much = {{{HUGE}}}, int64[2] wide = {{1, 100000}}, float[4] scale = {{1.0, 1.0, 99999.0, 99999.0}}"
SHRUNK = "s = ReduceMax<keepdims=0>(big) \n a = Add(h, s) \n y = Reshape(a, shape)"
BOMBS = {
    "ConstantOfShape": CONSTANT + "\n y = Reshape(a, shape)",
    "Expand": "one = Reshape(none, unit) \n big = Expand(one, much) \n " + SHRUNK,
    "Tile": "k = Reshape(h, shape) \n big = Tile(k, times) \n " + SHRUNK,
    "Resize": "k = Reshape(h, shape) \n big = Resize<mode='nearest'>(k, , scale) \n " + SHRUNK,
}
EXTRA = ", int64[1] unit = {1}, int64[4] times = {1, 1, 99999, 99999}"


def told(path: Path, scratch: Path, seconds: int = 60) -> tuple[str, int]:
    """What a process of its own says of a file, and the most memory that its reading process took."""
    code = """
import json, resource, sys
from pathlib import Path
from gan_export.graphs.reading import GraphLimits, read_graph
from gan_export.graphs.signature import GraphOptions
try:
    read_graph(Path(sys.argv[1]), GraphOptions(), GraphLimits(seconds=int(sys.argv[2])))
    said = ""
except ValueError as error:
    said = str(error)
print(json.dumps([said, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024]))
"""
    command = [sys.executable, "-P", "-c", code, str(path), str(seconds)]
    environment = os.environ | {"TMPDIR": str(scratch)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=120)
    assert not [*scratch.iterdir()], "temporary files are left"
    said, memory = json.loads(done.stdout)
    assert said.isprintable(), "one line"
    return said, memory


@pytest.mark.parametrize("case", BOMBS)
def test_a_graph_that_wants_100_gb_is_ended(tmp_path, scratch, case):
    path = tmp_path / "g.onnx"
    onnx.save(graph(BOMBS[case], MUCH + EXTRA), path)
    said, memory = told(path, scratch)
    assert said.startswith(f"{path}: ")
    assert re.search(r"more than 640 MiB of memory beyond its weights to be run|exceeds the supported maximum", said)
    assert memory < GIB
    assert [*tmp_path.iterdir()] == [path]


def test_any_number_of_class_names_is_told_to_the_process_that_reads(tmp_path):
    path = tmp_path / "g.onnx"
    onnx.save(graph(), path)
    names = [f"class {i:06}" for i in range(20_000)]
    with pytest.raises(IntakeError, match=r"takes no labels, but --classes 20000 was given"):
        read_graph(path, GraphOptions(class_names=names))


def test_a_folder_of_temporary_files_that_can_not_be_written_is_named_in_one_line(tmp_path, monkeypatch):
    path = tmp_path / "g.onnx"
    onnx.save(graph(), path)
    monkeypatch.setattr(tempfile, "tempdir", str(path))
    with pytest.raises(IntakeError, match=r"g\.onnx: can't be read: Not a directory"):
        read_graph(path, GraphOptions())


def test_a_graph_that_grows_with_the_fourth_power_of_the_batch_is_ended(tmp_path, scratch):
    """Some kilobytes for the few images that show what it is, 13 GB for a batch of 64."""
    body = "size = Shape(z) \n n = Gather(size, first) \n nn = Mul(n, n) \n nnnn = Mul(nn, nn) \n "
    body += "much = Mul(nnnn, times) \n "
    path = tmp_path / "g.onnx"
    onnx.save(
        graph(body + CONSTANT + "\n y = Reshape(a, shape)", ", int64[1] first = {0}, int64[1] times = {200}"), path
    )
    said, memory = told(path, scratch)
    assert "takes more memory than images of its size need to be run with 64 latents at once" in said
    assert memory < GIB


def test_a_file_of_empty_nodes_is_ended(tmp_path, scratch):
    nodes = b"\x0a\x00" * 4_000_000
    path = tmp_path / "g.onnx"
    path.write_bytes(b"\x08\x08" + part(0x42, b"\x10\x11") + part(0x3A, nodes))
    said, memory = told(path, scratch)
    assert "is not an ONNX model" in said or "of memory" in said or "more than 50,000 nodes" in said
    assert memory < GIB


def test_a_graph_that_takes_too_long_is_ended(tmp_path, scratch):
    products = "\n".join(f"k{i + 1} = MatMul(k{i}, k{i})" for i in range(400))
    body = f"k0 = Expand(none, wide) \n {products} \n big = Identity(k400) \n {SHRUNK}"
    path = tmp_path / "g.onnx"
    onnx.save(graph(body, ", int64[2] wide = {2000, 2000}"), path)
    said, _ = told(path, scratch, seconds=5)
    assert "within 5 s" in said or "ended by signal" in said


def test_data_elsewhere_is_not_even_opened(tmp_path, graph_refusal):
    os.mkfifo(tmp_path / "data")  # whoever opens it waits for ever
    for location in ("data", "../data", str(tmp_path / "data")):
        path = tmp_path / "model" / "g.onnx"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(changed(external(location)))
        assert "which is not opened" in graph_refusal(path, GraphLimits(seconds=30))


def test_what_is_no_file_or_too_large_is_refused(tmp_path, graph_refusal):
    pipe = tmp_path / "pipe.onnx"
    os.mkfifo(pipe)
    assert "is not a file" in graph_refusal(pipe)
    assert "No such file" in graph_refusal(tmp_path / "missing.onnx")
    large = tmp_path / "large.onnx"
    with large.open("wb") as file:
        file.truncate(3 * 2**20)
    assert "is larger than 2 MiB" in graph_refusal(large, GraphLimits(max_file_bytes=2 * 2**20))
    archive = tmp_path / "weights.onnx"
    with zipfile.ZipFile(archive, "w") as stored:
        stored.writestr("archive/data.pkl", b"\x80\x02}.")
    assert "is a zip archive, not an ONNX model" in graph_refusal(archive)


def test_files_cut_off_or_changed_at_random(tmp_path):
    """Each in a process of its own under the limits; whatever it says is one line, and no crash takes more than it."""
    content = graph().SerializeToString()
    chance = random.Random(0)
    cuts = [content[:length] for length in chance.sample(range(len(content)), CUTS)]
    files = cuts + [mutant(content, chance) for _ in range(MUTANTS)]
    for i, one in enumerate(files):
        (tmp_path / f"{i:03}").write_bytes(one)
    code = """
import os, sys
from pathlib import Path
from gan_export.graphs import probe
for path in sorted(Path(sys.argv[1]).iterdir()):
    child = os.fork()
    if not child:
        try:
            probe.main(str(path), os.devnull, str(640 * 2**20), str(2**20), "60", "{}")
        except BaseException as error:
            print(type(error).__name__, flush=True)
            os._exit(1)
        sys.stdout.flush()
        os._exit(0)
    print("status", path.name, os.waitpid(child, 0)[1], flush=True)
"""
    done = subprocess.run(
        [sys.executable, "-P", "-c", code, str(tmp_path)], capture_output=True, text=True, check=True, timeout=100
    )
    said: dict[int, dict[str, object]] = {}
    last = ""
    for line in done.stdout.splitlines():
        if line.startswith("status "):
            _, name, status = line.split()
            assert status == "0", f"{name} was not read to an end: {last}"
            said[int(name)] = json.loads(last)
        last = line
    assert said.keys() == set(range(len(files)))
    assert all("refused" in said[i] for i in range(CUTS))
    refused = [str(one["refused"]) for one in said.values() if "refused" in one]
    assert all(len(one) < 600 for one in refused)
    assert CUTS < len(refused) < len(files), "some are sound: a byte of a weight or of a name is changed"


def mutant(content: bytes, chance: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(changed))
        new = bytes([chance.choice((0, 0xFF, chance.randrange(256)))])
        changed[at : at + chance.choice((0, 1, 1, 1))] = chance.choice((new, new, b""))
    return bytes(changed)
