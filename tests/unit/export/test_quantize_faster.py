"""What stays in float32 beside layers in int8, in forms that take less time."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from gan_export import quantize as quantizing
from gan_export.quantize import _faster
from gan_export.tuning import open_graph

node = helper.make_node


def residual_end() -> onnx.ModelProto:
    """Maps -> a norm that no layer takes in -> ReLU -> a convolution to three maps."""
    rng = np.random.default_rng(0)
    weights = {"scale": (1, 80, 1, 1), "w": (3, 80, 3, 3), **dict.fromkeys(("a", "b", "m"), (80,))}
    constants = [
        numpy_helper.from_array(rng.normal(0, 0.1, shape).astype(np.float32), name) for name, shape in weights.items()
    ]
    constants.append(numpy_helper.from_array(np.ones(80, np.float32), "v"))
    nodes = [
        node("Mul", ["z", "scale"], ["x"]),
        node("BatchNormalization", ["x", "a", "b", "m", "v"], ["n"]),
        node("Relu", ["n"], ["r"]),
        node("Conv", ["r", "w"], ["pixels"], pads=[1, 1, 1, 1]),
        node("QuantizeLinear", ["pixels", "v0"], ["image"]),
    ]
    constants.append(numpy_helper.from_array(np.float32(0.01), "v0"))
    made = [
        helper.make_tensor_value_info(name, kind, ["N", 3, 6, 6])
        for name, kind in (("image", TensorProto.UINT8), ("pixels", TensorProto.FLOAT))
    ]
    given = [helper.make_tensor_value_info("z", TensorProto.FLOAT, ["N", 80, 6, 6])]
    graph = helper.make_graph(nodes, "g", given, made, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_the_rest_is_written_in_forms_that_are_faster(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(quantizing, "speedups", lambda *_: [1.1, 1.1])
    model = residual_end()
    feed = {"z": np.random.default_rng(1).standard_normal((5, 80, 6, 6)).astype(np.float32)}
    found, rewrites = _faster(model, [feed], print)
    assert [(one.name, one.speedup) for one in rewrites] == [("depthwise_norms", 1.1), ("taps", 1.1)]
    assert [each.op_type for each in found.graph.node] == ["Mul", "Conv", "Relu", "Conv", "Conv", "QuantizeLinear"]
    before, after = (open_graph(each).run(["pixels"], feed)[0] for each in (model, found))
    assert after == pytest.approx(before, abs=1e-5)


@pytest.mark.parametrize("measured", [[1.03, 1.03], [1.3, 0.96]])
def test_forms_that_are_no_faster_are_not_taken(monkeypatch: pytest.MonkeyPatch, measured: list[float]):
    monkeypatch.setattr(quantizing, "speedups", lambda *_: measured)
    assert _faster(residual_end(), [{}], print) == (residual_end(), [])


def test_a_form_that_can_not_be_run_is_left_out_and_said(monkeypatch: pytest.MonkeyPatch):
    def broken(model: onnx.ModelProto) -> onnx.ModelProto:
        changed = onnx.ModelProto.FromString(model.SerializeToString())
        changed.graph.node[0].op_type = "NoSuchOperator"
        return changed

    monkeypatch.setattr(quantizing, "depthwise_norms", broken)
    monkeypatch.setattr(quantizing, "speedups", lambda *_: [1.1, 1.1])
    said: list[str] = []
    found, rewrites = _faster(residual_end(), [{}], said.append)
    assert [one.name for one in rewrites] == ["taps"]
    assert "BatchNormalization" in [each.op_type for each in found.graph.node]
    assert len(said) == 1
    assert said[0].startswith("what is left in float32 can't be run with broken: ")
    assert "NoSuchOperator" in said[0]
