"""Small graphs around a few nodes, before and after a rewrite, in ONNX Runtime."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

TOLERANCE = 2e-5  # of values of order 1: sums of a few hundred products in another order
IMAGES = 5

GraphFn = Callable[..., onnx.ModelProto]
SameFn = Callable[..., None]


@pytest.fixture(scope="session")
def make_graph() -> GraphFn:
    """A checked model of opset 17: nodes from `x` (and `label`) to the last one's output, with random constants."""

    def make(
        nodes: Sequence[onnx.NodeProto],
        shape: Sequence[int],
        weights: Mapping[str, Any],
        *,
        label: bool = False,
        outputs: Sequence[str] = (),
        kind: int = TensorProto.FLOAT,
    ) -> onnx.ModelProto:
        rng = np.random.default_rng(0)
        constants = [
            numpy_helper.from_array(
                value if isinstance(value, np.ndarray) else rng.standard_normal(value).astype(np.float32) * 0.3, name
            )
            for name, value in weights.items()
        ]
        given = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", *shape])]
        given += [helper.make_tensor_value_info("label", TensorProto.INT64, ["N"])] if label else []
        made = [helper.make_tensor_value_info(name, kind, None) for name in outputs or nodes[-1].output]
        graph = helper.make_graph(list(nodes), "g", given, made, constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        return onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True)

    return make


@pytest.fixture(scope="session")
def assert_same() -> SameFn:
    """Two models give the same numbers, and the second one the same bits for an image alone as in a batch."""

    def check(before: onnx.ModelProto, after: onnx.ModelProto, *, tolerance: float = TOLERANCE) -> None:
        onnx.checker.check_model(after, full_check=True)
        rng = np.random.default_rng(1)
        sizes = [dim.dim_value for dim in before.graph.input[0].type.tensor_type.shape.dim][1:]
        feed: dict[str, np.ndarray] = {"x": rng.standard_normal((IMAGES, *sizes)).astype(np.float32)}
        if len(before.graph.input) > 1:
            feed["label"] = np.arange(IMAGES) % 3
        plain, rewritten = (_session(model) for model in (before, after))
        wanted, found = plain.run(None, feed), rewritten.run(None, feed)
        for one, other in zip(wanted, found, strict=True):
            assert one.shape == other.shape
            assert one.dtype == other.dtype
            np.testing.assert_allclose(other.astype(float), one.astype(float), rtol=0, atol=tolerance)
        for i in range(IMAGES):
            alone = rewritten.run(None, {name: array[i : i + 1] for name, array in feed.items()})
            assert all(np.array_equal(one[0], other[i]) for one, other in zip(alone, found, strict=True))

    return check


@pytest.fixture(scope="session")
def operators() -> Callable[[onnx.ModelProto], list[str]]:
    return lambda model: [node.op_type for node in model.graph.node]


def _session(model: onnx.ModelProto) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
