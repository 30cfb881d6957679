"""The tail that rounds pixels, as one operation: the same bytes, at the ends, at halves, and beyond the range."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from gan_export.rewrite import rounding

CONSTANTS = {
    "one": np.array(1, np.float32),
    "scale": np.array(127.5, np.float32),
    "low": np.array(0, np.float32),
    "high": np.array(255, np.float32),
}


def tail(*, to: int = TensorProto.UINT8, **changed: str) -> list[onnx.NodeProto]:
    kinds = {"first": "Add", "second": "Mul", "third": "Round"} | changed
    return [
        helper.make_node(kinds["first"], ["x", "one"], ["a"]),
        helper.make_node(kinds["second"], ["a", "scale"], ["b"]),
        helper.make_node(kinds["third"], ["b"], ["c"]),
        helper.make_node("Clip", ["c", "low", "high"], ["d"]),
        helper.make_node("Cast", ["d"], ["y"], to=to),
    ]


def test_the_bytes_are_the_same(make_graph, operators):
    before = make_graph(tail(), (1001,), CONSTANTS, kind=TensorProto.UINT8)
    after = rounding(before)
    assert operators(after) == ["Add", "Mul", "QuantizeLinear"]
    steps = np.arange(-20, 276, 0.25, np.float32)  # whole bytes, halves and quarters of them
    far = np.array([-1, 1, -1.0000002, 1.0000002, 0, -0.0, 1e30, -1e30, np.inf, -np.inf], np.float32)
    drawn = np.tanh(np.random.default_rng(0).standard_normal(400_000)).astype(np.float32)
    values = np.concatenate([steps / np.float32(127.5) - 1, far, drawn])
    x = np.resize(values, (len(values) // 1001 + 1, 1001)).astype(np.float32)
    one, other = (
        ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]
        for model in (before, after)
    )
    assert other.dtype == np.uint8
    assert np.array_equal(one, other)


@pytest.mark.parametrize(
    "nodes", [tail(to=TensorProto.INT8), tail(third="Floor"), tail(second="Div"), tail(first="Sub")]
)
def test_other_tails_stay(make_graph, operators, nodes):
    kind = TensorProto.INT8 if nodes[-1].attribute[0].i == TensorProto.INT8 else TensorProto.UINT8
    model = make_graph(nodes, (10,), CONSTANTS, kind=kind)
    assert operators(rounding(model)) == operators(model)


@pytest.mark.parametrize("changed", [{"low": 1}, {"low": -1}, {"high": 254}, {"high": 256}], ids=str)
def test_a_tail_with_other_limits_stays(make_graph, operators, changed):
    limits = {name: np.array(value, np.float32) for name, value in changed.items()}
    model = make_graph(tail(), (10,), CONSTANTS | limits, kind=TensorProto.UINT8)
    assert operators(rounding(model)) == operators(model)


def test_a_value_on_the_way_that_is_used_elsewhere_keeps_the_tail(make_graph, operators):
    model = make_graph(tail(), (10,), CONSTANTS, outputs=("y",), kind=TensorProto.UINT8)
    model.graph.output.append(helper.make_tensor_value_info("c", TensorProto.FLOAT, None))
    assert operators(rounding(model)) == operators(model)
