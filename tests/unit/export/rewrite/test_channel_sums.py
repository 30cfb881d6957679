"""Sums over channels as convolutions: the same numbers, and the same bits for every batch size."""

from collections.abc import Callable

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from gan_export.rewrite import channel_sums

SHAPE = (24, 5, 7)

RunFn = Callable[[np.ndarray], np.ndarray]


def graph_of(*nodes: onnx.NodeProto, shape: tuple[int | str, ...] = ("N", *SHAPE), rank: int = 4) -> onnx.ModelProto:
    axes = numpy_helper.from_array(np.array([1], np.int64), "axes")
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    made = helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * rank)
    graph = helper.make_graph(list(nodes), "g", [given], [made], [axes])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def runner(model: onnx.ModelProto) -> RunFn:
    onnx.checker.check_model(model, full_check=True)
    options = ort.SessionOptions()
    options.use_deterministic_compute = True
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return lambda x: session.run(None, {"x": x})[0]


def operators(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


@pytest.mark.parametrize(
    "node",
    [
        helper.make_node("ReduceMean", ["x"], ["y"], axes=[1]),
        helper.make_node("ReduceMean", ["x"], ["y"], axes=[-3], keepdims=1),
        helper.make_node("ReduceSum", ["x", "axes"], ["y"]),
    ],
)
def test_the_numbers_are_the_same_and_do_not_depend_on_the_batch(node):
    before = graph_of(node)
    after = channel_sums(before)
    assert operators(after) == ["Conv"]
    x = np.random.default_rng(0).standard_normal((64, *SHAPE)).astype(np.float32)
    plain, rewritten = runner(before), runner(after)
    together = rewritten(x)
    np.testing.assert_allclose(together, plain(x), rtol=1e-5, atol=1e-5)
    for batch in (1, 2, 3, 7):
        for first in range(0, 64 - batch, 9):
            assert np.array_equal(rewritten(x[first : first + batch]), together[first : first + batch])


@pytest.mark.parametrize(
    ("node", "shape"),
    [
        (helper.make_node("ReduceMean", ["x"], ["y"], axes=[2, 3]), ("N", *SHAPE)),
        (helper.make_node("ReduceMean", ["x"], ["y"], axes=[1], keepdims=0), ("N", *SHAPE)),
        (helper.make_node("ReduceMean", ["x"], ["y"], axes=[1]), ("N", "C", 5, 7)),
        (helper.make_node("ReduceMean", ["x"], ["y"], axes=[1]), ("N", 24)),
        (helper.make_node("ReduceMax", ["x"], ["y"], axes=[1]), ("N", *SHAPE)),
    ],
)
def test_everything_else_stays(node, shape):
    before = graph_of(node, shape=shape, rank=len(shape))
    assert channel_sums(before) == before
