"""ONNX files that nobody vouches for: refused in one line, under 1 GB, in time, and no other file is opened."""

import struct
from collections.abc import Callable

import numpy as np
import onnx
import pytest
from graph_faults import HUGE, changed, external, graph, part, weight
from onnx import TensorProto, helper, numpy_helper

from gan_export.graphs import audit as rules
from gan_export.graphs.probe import examine
from gan_export.graphs.signature import GraphOptions
from gan_export.refusal import IntakeError

pytestmark = pytest.mark.slow


def hidden_external(model: onnx.ModelProto) -> None:
    inner = TensorProto(name="k", data_type=TensorProto.FLOAT, dims=[1], raw_data=bytes(4))
    inner.external_data.add(key="location", value="/etc/passwd")
    model.graph.node.insert(0, helper.make_node("Constant", [], ["k"], value=inner))


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


def test_ill_formed_says_are_cleaned(tmp_path, graph_refusal):
    path = tmp_path / "g.onnx"
    path.write_bytes(changed(weight(name="w\n\x1b[31m" * 90)))
    graph_refusal(path)


def test_the_number_of_nodes_is_bounded(monkeypatch):
    monkeypatch.setattr(rules, "MAX_NODES", 2)
    with pytest.raises(IntakeError, match="more than 2 nodes"):
        examine(graph().SerializeToString(), GraphOptions())
