"""ONNX files that nobody vouches for: refused in one line, under 1 GB, in time, and no other file is opened."""

import json
import os
import random
import re
import struct
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper, parser

from gan_export.graphs import audit as rules
from gan_export.graphs.probe import examine
from gan_export.graphs.reading import GraphLimits, read_graph
from gan_export.graphs.signature import GraphOptions
from gan_export.refusal import IntakeError

pytestmark = pytest.mark.slow

HUGE = 25 * 10**9  # float32 values: 100 GB
GIB = 2**30
CUTS = 20
MUTANTS = 200


def graph(body: str = "y = Reshape(h, shape)", constants: str = "", opset: int = 17) -> onnx.ModelProto:
    """z (n, 6) -> h (n, 16) -> y (n, 1, 4, 4) by some lines of ONNX text."""
    text = f"""<ir_version: 8, opset_import: ["" : {opset}]>
    g (float[n, 6] z) => (float[n, 1, 4, 4] y) <int64[4] shape = {{-1, 1, 4, 4}}, float none = {{0.0}}{constants}>
    {{ m = MatMul(z, w) \n h = Tanh(m) \n {body} }}"""
    model = parser.parse_model(text.replace("'", '"'))
    weight = np.random.default_rng(0).normal(size=(6, 16)).astype(np.float32)
    model.graph.initializer.append(numpy_helper.from_array(weight, "w"))
    return model


def changed(change: Callable[[onnx.ModelProto], object]) -> bytes:
    model = graph()
    change(model)
    return bytes(model.SerializeToString())


def external(location: str) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        tensor = model.graph.initializer[-1]
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=location)

    return change


def hidden_external(model: onnx.ModelProto) -> None:
    inner = TensorProto(name="k", data_type=TensorProto.FLOAT, dims=[1], raw_data=bytes(4))
    inner.external_data.add(key="location", value="/etc/passwd")
    model.graph.node.insert(0, helper.make_node("Constant", [], ["k"], value=inner))


def weight(**fields: object) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        tensor = model.graph.initializer[-1]
        for name, value in fields.items():
            tensor.ClearField(name)
            if isinstance(value, list):
                getattr(tensor, name).extend(value)
            else:
                setattr(tensor, name, value)

    return change


def node(**fields: object) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        for name, value in fields.items():
            if isinstance(value, list):
                del getattr(model.graph.node[0], name)[:]
                getattr(model.graph.node[0], name).extend(value)
            else:
                setattr(model.graph.node[0], name, value)

    return change


def function(name: str, *calls: str, domain: str = "own") -> onnx.FunctionProto:
    nodes, value = [], "a"
    for i, call in enumerate(calls):
        nodes.append(helper.make_node(call, [value], [f"b{i}"], domain="own" if call.startswith("F") else ""))
        value = f"b{i}"
    return helper.make_function(domain, name, ["a"], [value], nodes, [helper.make_opsetid("", 17)])


def functions(*added: onnx.FunctionProto) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        model.opset_import.append(helper.make_opsetid("own", 1))
        model.functions.extend(added)
        model.graph.node[1].op_type, model.graph.node[1].domain = added[0].name, "own"

    return change


def nested(depth: int) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        inner = helper.make_node("Identity", ["h"], ["y0"])
        for level in range(depth):
            out = helper.make_tensor_value_info(inner.output[0], TensorProto.FLOAT, None)
            branch = helper.make_graph([inner], "b", [], [out])
            plain = helper.make_graph([helper.make_node("Identity", ["h"], inner.output)], "b", [], [out])
            name = f"y{level + 1}"
            inner = helper.make_node("If", ["yes"], [name], then_branch=branch, else_branch=plain)
        model.graph.initializer.append(numpy_helper.from_array(np.array(True), "yes"))
        model.graph.node.insert(2, inner)

    return change


def varint(number: int) -> bytes:
    parts = bytearray()
    while number > 127:
        parts.append(number & 127 | 128)
        number >>= 7
    return bytes([*parts, number])


def part(tag: int, content: bytes) -> bytes:
    """A field of a protobuf message."""
    return bytes([tag]) + varint(len(content)) + content


def matryoshka(depth: int) -> bytes:
    """An If in an If in an If."""
    node = part(0x22, b"If")
    for _ in range(depth):
        node = part(0x22, b"If") + part(0x2A, part(0x32, part(0x0A, node)))  # node > attribute > graph > node
    return b"\x08\x08" + part(0x42, b"\x10\x11") + part(0x3A, part(0x0A, node))


DOUBLING = [function(f"F{i}", *[f"F{i + 1}"] * 8 if i < 6 else ["Neg"]) for i in range(7)]
FILES: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", r"is empty"),
    "a web page": (b"<!DOCTYPE html><html>404</html>", r"is a web page"),
    "a Git LFS pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", r"is a Git LFS pointer"),
    "text": (b"hello, I am no model\n" * 9, r"is not an ONNX model"),
    "a pickle": (b"\x80\x02}q\x00.", r"is a pickle"),
    "zeros": (bytes(999), r"is not an ONNX model"),
    "another message": (helper.make_opsetid("", 17).SerializeToString(), r"is not an ONNX model"),
    "data elsewhere": (
        changed(external("../../../etc/passwd")),
        r"tensor w in another file \(../../../etc/passwd\), w",
    ),
    "data elsewhere, hidden": (changed(hidden_external), r"the tensor k in another file \(/etc/passwd\)"),
    "a Microsoft operator": (
        changed(node(op_type="FusedMatMul", domain="com.microsoft")),
        r"uses the operator FusedMatMul of the domain com.microsoft, which is not part of ONNX",
    ),
    "a custom operator": (changed(node(domain="evil\n\x1b[2J")), r"of the domain evil\\n\\x1b\[2J, which"),
    "an unknown operator": (changed(node(op_type="Shell")), r"is not a valid ONNX graph: No Op registered for Shell"),
    "a loop": (changed(node(op_type="Loop")), r"has a Loop, whose running time can't be bounded"),
    "100 GB declared": (
        changed(weight(dims=[HUGE], raw_data=bytes(8))),
        r"tensor w of the shape \[25000000000\], but 8 bytes for it",
    ),
    "a product that overflows": (changed(weight(dims=[2**32, 2**32])), r"\[4294967296, 4294967296\], but 384 bytes"),
    "a negative size": (changed(weight(dims=[-6, -16])), r"of the shape \[-6, -16\]; it is damaged"),
    "values twice": (changed(weight(float_data=[1.0])), r"but 384 bytes for it; it is damaged"),
    "text weights": (changed(weight(data_type=TensorProto.STRING)), r"tensor w of the type string"),
    "an unknown type": (changed(weight(data_type=99)), r"tensor w of the type number 99"),
    "NaN": (changed(weight(raw_data=struct.pack("<f", float("nan")) + bytes(380))), r"has NaN in the tensor w"),
    "two weights of a name": (
        changed(lambda model: model.graph.initializer.append(model.graph.initializer[-1])),
        r"two of its weights have the same name",
    ),
    "two values of a name": (changed(node(output=["h"])), r"two values have the name 'h'|uses m before it is computed"),
    "a cycle": (changed(node(input=["h", "w"])), r"MatMul uses h before it is computed, or in a cycle"),
    "no output": (changed(lambda model: model.graph.output.pop()), r"has no output"),
    "an output from nowhere": (changed(lambda model: model.graph.node.pop()), r"nothing computes its output y"),
    "deep branches": (changed(nested(9)), r"has graphs nested deeper than 8"),
    "deeper branches": (matryoshka(10_000), r"is not an ONNX model, or is cut off or damaged"),
    "opset 0": (changed(lambda model: setattr(model.opset_import[0], "version", 0)), r"has opset 0; opsets 7 to"),
    "opset 999": (changed(lambda model: setattr(model.opset_import[0], "version", 999)), r"has opset 999; opsets 7 to"),
    "a function that calls itself": (changed(functions(function("F0", "F0"))), r"F0 that calls itself"),
    "functions that grow": (changed(functions(*DOUBLING)), r"functions that unfold to more than 50,000 nodes"),
    "a function of a foreign operator": (
        changed(
            functions(
                helper.make_function("own", "F", ["a"], ["b"], [helper.make_node("X", ["a"], ["b"], domain="q")], [])
            )
        ),
        r"uses the operator X of the domain q",
    ),
    "an operator redefined": (
        changed(lambda model: model.functions.append(function("Tanh", "Neg", domain=""))),
        "redefines",
    ),
    "bytes that are no text": (changed(node(name="aaaa")).replace(b"MatMul", b"Mat\xff\xfel"), r"is damaged|Mat"),
    "a size by a value": (
        graph(
            "p = ReduceMax<keepdims=0>(h) \n i = Cast<to=7>(p) \n s = Mul(shape, i) \n y = Reshape(h, s)"
        ).SerializeToString(),
        r"decides what to compute in Reshape",
    ),
    "a size by a random number": (
        graph(
            "p = RandomNormal<shape=[4]>() \n i = Cast<to=7>(p) \n e = Expand(h, i) \n y = Reshape(e, shape)"
        ).SerializeToString(),
        r"what to compute in Expand",
    ),
}


@pytest.mark.parametrize("case", FILES)
def test_what_no_generator_needs_is_refused(case):
    content, complaint = FILES[case]
    with pytest.raises(IntakeError, match=complaint) as caught:
        examine(content, GraphOptions())
    assert str(caught.value).isprintable(), "one line"
    assert len(str(caught.value)) < 400


def test_the_same_graph_without_the_fault_is_taken():
    for model in (graph(), graph("c = Identity(h) \n y = Reshape(c, shape)")):
        assert examine(model.SerializeToString(), GraphOptions())[1]["image_shape"] == (1, 4, 4)
    assert examine(changed(nested(3)), GraphOptions())[1]["layout"] == "nchw"
    assert examine(changed(functions(function("F0", "Neg", "Tanh"))), GraphOptions())[1]["opset"] == 17


def test_branches_are_kept():
    model = graph(
        "y = If(yes) <then_branch = t () => (float[a, b, c, d] p) { p = Reshape(h, shape) }, "
        "else_branch = e () => (float[a, b, c, d] q) { q = Reshape(z, shape) }>",
        ", bool yes = {1}",
    )
    served, _ = examine(model.SerializeToString(), GraphOptions())
    assert any(one.op_type == "If" for one in served.graph.node)


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


def test_data_elsewhere_is_not_even_opened(tmp_path, refusal):
    os.mkfifo(tmp_path / "data")  # whoever opens it waits for ever
    for location in ("data", "../data", str(tmp_path / "data")):
        path = tmp_path / "model" / "g.onnx"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(changed(external(location)))
        assert "which is not opened" in refusal(path, GraphLimits(seconds=30))


def test_what_is_no_file_or_too_large_is_refused(tmp_path, refusal):
    pipe = tmp_path / "pipe.onnx"
    os.mkfifo(pipe)
    assert "is not a file" in refusal(pipe)
    assert "No such file" in refusal(tmp_path / "missing.onnx")
    large = tmp_path / "large.onnx"
    with large.open("wb") as file:
        file.truncate(3 * 2**20)
    assert "is larger than 2 MiB" in refusal(large, GraphLimits(max_file_bytes=2 * 2**20))
    archive = tmp_path / "weights.onnx"
    with zipfile.ZipFile(archive, "w") as stored:
        stored.writestr("archive/data.pkl", b"\x80\x02}.")
    assert "is a zip archive, not an ONNX model" in refusal(archive)


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


def test_ill_formed_says_are_cleaned(tmp_path, refusal):
    path = tmp_path / "g.onnx"
    path.write_bytes(changed(weight(name="w\n\x1b[31m" * 90)))
    refusal(path)


def test_the_number_of_nodes_is_bounded(monkeypatch):
    monkeypatch.setattr(rules, "MAX_NODES", 2)
    with pytest.raises(IntakeError, match="more than 2 nodes"):
        examine(graph().SerializeToString(), GraphOptions())


@pytest.fixture
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of temporary files."""
    return tmp_path_factory.mktemp("scratch")


@pytest.fixture
def refusal(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """What is said of a file that is refused: one line, and no file is left."""
    monkeypatch.setenv("TMPDIR", str(scratch))
    monkeypatch.setattr(tempfile, "tempdir", None)

    def refuse(path: Path, *limits: GraphLimits) -> str:
        with pytest.raises(IntakeError) as caught:
            read_graph(path, GraphOptions(), *limits)
        message = str(caught.value)
        assert message.startswith(f"{path}: ")
        assert message.isprintable(), "one line"
        assert len(message) < len(str(path)) + 600
        assert not [*scratch.iterdir()], "temporary files are left"
        return message

    return refuse
