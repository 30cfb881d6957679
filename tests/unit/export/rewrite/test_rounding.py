"""The tail that rounds pixels, as one operation: the same bytes, at the ends, at halves, and beyond the range."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from gan_export.rewrite import rounding, scaled_rounding

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


def bytes_of(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"x": x})[0])


def test_the_bytes_are_the_same(make_graph, operators):
    before = make_graph(tail(), (1001,), CONSTANTS, kind=TensorProto.UINT8)
    after = rounding(before)
    assert operators(after) == ["Add", "Mul", "QuantizeLinear"]
    steps = np.arange(-20, 276, 0.25, np.float32)  # whole bytes, halves and quarters of them
    far = np.array([-1, 1, -1.0000002, 1.0000002, 0, -0.0, 1e30, -1e30, np.inf, -np.inf], np.float32)
    drawn = np.tanh(np.random.default_rng(0).standard_normal(400_000)).astype(np.float32)
    values = np.concatenate([steps / np.float32(127.5) - 1, far, drawn])
    x = np.resize(values, (len(values) // 1001 + 1, 1001)).astype(np.float32)
    one, other = bytes_of(before, x), bytes_of(after, x)
    assert other.dtype == np.uint8
    assert np.array_equal(one, other)


def test_with_the_multiplication_the_bytes_are_the_nearest(make_graph, operators):
    before = rounding(make_graph(tail(), (1000,), CONSTANTS, kind=TensorProto.UINT8))
    after = scaled_rounding(before)
    assert operators(after) == ["Add", "QuantizeLinear"]
    marks = np.array([0, -0.0, -1, 1, -1.0000002, 1.0000002, 1e30, -1e30, np.inf, -np.inf], np.float32)
    drawn = np.tanh(np.random.default_rng(0).standard_normal(400_000)).astype(np.float32)
    x = np.concatenate([np.resize(marks, 1000), drawn]).reshape(-1, 1000)
    one, other = bytes_of(before, x), bytes_of(after, x)
    assert np.array_equal(one[0], other[0])
    assert other[0, :4].tolist() == [128, 128, 0, 255]
    assert np.abs(other - np.clip((x.astype(np.float64) + 1) * 127.5, 0, 255)).max() < 0.5 + 1e-4
    assert (one != other).mean() < 1e-4


@pytest.mark.parametrize(
    ("scale", "zero", "factor"),
    [(2.0, np.uint8(0), 127.5), (1.0, np.uint8(1), 127.5), (1.0, np.int8(0), 127.5), (1.0, np.uint8(0), 127.0)],
)
def test_another_scale_another_zero_and_another_factor_stay(make_graph, operators, scale, zero, factor):
    constants = {"factor": np.array(factor, np.float32), "s": np.array(scale, np.float32), "zero": np.array(zero)}
    nodes = [
        helper.make_node("Mul", ["x", "factor"], ["a"]),
        helper.make_node("QuantizeLinear", ["a", "s", "zero"], ["y"]),
    ]
    kind = TensorProto.INT8 if constants["zero"].dtype == np.int8 else TensorProto.UINT8
    assert operators(scaled_rounding(make_graph(nodes, (10,), constants, kind=kind))) == ["Mul", "QuantizeLinear"]


def test_a_product_that_is_used_elsewhere_keeps_its_multiplication(make_graph, operators):
    model = rounding(make_graph(tail(), (10,), CONSTANTS, kind=TensorProto.UINT8))
    model.graph.output.append(helper.make_tensor_value_info("b", TensorProto.FLOAT, None))
    assert operators(scaled_rounding(model)) == ["Add", "Mul", "QuantizeLinear"]


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
