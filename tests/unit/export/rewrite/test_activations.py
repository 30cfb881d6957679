"""Activations by other operations: the same numbers, and the same bits for every batch size and number of threads."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from gan_export.rewrite import activations, same_in_any_batch

SHAPE = (5, 7, 9)  # an odd number of values: something is left over wherever a vector ends
NODES = {
    "Elu": helper.make_node("Elu", ["x"], ["y"], alpha=0.7),
    "Selu": helper.make_node("Selu", ["x"], ["y"]),
    "Selu, other curve": helper.make_node("Selu", ["x"], ["y"], alpha=0.9, gamma=1.3),
    "Celu": helper.make_node("Celu", ["x"], ["y"], alpha=1.5),
    "Softplus": helper.make_node("Softplus", ["x"], ["y"]),
    "Log": helper.make_node("Log", ["x"], ["y"]),
    "Sin": helper.make_node("Sin", ["x"], ["y"]),
    "Cos": helper.make_node("Cos", ["x"], ["y"]),
}


def graph_of(node: onnx.NodeProto, kind: int = TensorProto.FLOAT) -> onnx.ModelProto:
    given, made = (helper.make_tensor_value_info(name, kind, ("N", *SHAPE)) for name in ("x", "y"))
    graph = helper.make_graph([node], "g", [given], [made])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def draw(model: onnx.ModelProto, *batches: np.ndarray, threads: int = 0) -> list[np.ndarray]:
    onnx.checker.check_model(model, full_check=True)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return [session.run(None, {"x": batch})[0] for batch in batches]


@pytest.mark.parametrize("name", NODES)
def test_the_numbers_are_the_same_and_do_not_depend_on_the_batch(name: str):
    before, x = graph_of(NODES[name]), np.random.default_rng(0).normal(0, 3, (64, *SHAPE)).astype(np.float32)
    x = np.abs(x) + np.float32(0.01) if name == "Log" else x
    after = activations(before)
    (plain,), (together,) = draw(before, x), draw(after, x)
    np.testing.assert_allclose(together, plain, rtol=1e-6, atol=5e-7)
    parts = [slice(first, first + batch) for batch in (1, 2, 3, 5, 7, 33) for first in (0, 11, 29)]
    for threads in (1, 2):
        for part, found in zip(parts, draw(after, *(x[part] for part in parts), threads=threads), strict=True):
            assert np.array_equal(found, together[part])


@pytest.mark.parametrize("name", NODES)
def test_far_and_special_values_are_as_before(name: str):
    values = np.array([0, -0.0, 1e-30, -1e-30, 1e-4, -1e-4, 88, -88, 104, -104, 1e4, -1e4, np.inf, np.nan], np.float32)
    values = np.concatenate([values, [] if name in ("Sin", "Cos") else [-np.inf]]).astype(np.float32)
    x = np.resize(np.abs(values) if name == "Log" else values, (2, *SHAPE))
    (plain,), (found,) = draw(graph_of(NODES[name]), x), draw(activations(graph_of(NODES[name])), x)
    np.testing.assert_allclose(found, plain, rtol=1e-6, atol=1e-7)


def test_other_types_and_other_operators_are_left_as_they_are():
    for model in (graph_of(NODES["Sin"], TensorProto.DOUBLE), graph_of(helper.make_node("Tanh", ["x"], ["y"]))):
        assert same_in_any_batch(model) == activations(model) == model
