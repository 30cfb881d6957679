"""A graph in float16 is the same function, nearly; what can't be one is refused with a reason."""

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from gan_export.capture import capture
from gan_export.half import HalfError, half
from gan_export.rewrite import phases
from gan_export.tuning import open_graph, simplified
from gan_training.nets import Generator
from gan_training.specs import GeneratorSpec

LEAST_DB = 55.0  # of float16, which has 11 bits; what it is on trained nets is in their certificates
SPECS = {
    "transposed": GeneratorSpec(image_size=16, channels=3, latent_dim=8, width=8),
    "conditional": GeneratorSpec(image_size=16, channels=1, latent_dim=8, classes=3, embed_dim=4, width=8),
    "nearest": GeneratorSpec(image_size=16, channels=1, latent_dim=8, width=8, upsample="nearest"),
}


class Rescaled(nn.Module):
    def __init__(self, factor: float, shift: float) -> None:
        super().__init__()
        self.factor, self.shift = factor, shift

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x - self.shift) * self.factor


def traced(spec: GeneratorSpec) -> onnx.ModelProto:
    torch.manual_seed(0)
    return capture(Generator(spec).eval(), spec.latent_dim, spec.classes)


def feed(spec: GeneratorSpec) -> dict[str, np.ndarray]:
    made = {"z": np.random.default_rng(0).standard_normal((5, spec.latent_dim), np.float32)}
    return made | ({"label": np.arange(5) % spec.classes} if spec.classes else {})


def types_of(model: onnx.ModelProto) -> dict[str, int]:
    inferred = onnx.shape_inference.infer_shapes(model).graph
    return {value.name: value.type.tensor_type.elem_type for value in (*inferred.value_info, *inferred.output)}


@pytest.mark.parametrize("form", ["traced", "simplified", "phases"])
@pytest.mark.parametrize("name", SPECS)
def test_it_draws_nearly_the_same_images(name: str, form: str):
    model = traced(SPECS[name])
    if form != "traced":
        model = simplified(model).model
    if form == "phases":  # which moves the last activation before the interleaving
        model = phases(model, "phases")
    found = half(model)
    exact, near = (open_graph(each).run(None, feed(SPECS[name])) for each in (model, found))
    assert near[0].dtype == np.uint8
    assert near[1].dtype == np.float32
    error = float(np.sqrt(np.square(exact[1] - near[1]).mean()))
    contrast = float(exact[1].std())
    assert error > 0
    assert 20 * np.log10(contrast / error) > LEAST_DB
    assert np.array_equal(near[0], np.clip(np.rint((near[1] + 1) * np.float32(127.5)), 0, 255).astype(np.uint8))


def test_weights_and_what_is_large_are_float16_and_the_ends_are_not():
    model = simplified(traced(SPECS["transposed"])).model
    found = half(model)
    kinds = types_of(found)
    layers = [node for node in found.graph.node if node.op_type in ("Gemm", "ConvTranspose", "Conv")]
    assert {kinds[node.output[0]] for node in layers} == {TensorProto.FLOAT16}
    assert kinds["pixels"] == TensorProto.FLOAT
    weights = {one.name: one for one in found.graph.initializer}
    assert {weights[node.input[1]].data_type for node in layers} == {TensorProto.FLOAT16}
    assert [value.name for value in found.graph.input] == [value.name for value in model.graph.input]
    assert len(found.SerializeToString()) < 0.6 * len(model.SerializeToString())


def test_the_scales_of_a_resize_stay_float32():
    found = half(traced(SPECS["nearest"]))
    resizes = [node for node in found.graph.node if node.op_type == "Resize"]
    constants = {one.name: one.data_type for one in found.graph.initializer}
    assert resizes
    assert {constants[node.input[2]] for node in resizes} == {TensorProto.FLOAT}


def test_the_model_that_was_given_is_not_changed():
    model = traced(SPECS["conditional"])
    before = model.SerializeToString(deterministic=True)
    half(model)
    assert model.SerializeToString(deterministic=True) == before


def test_a_weight_that_float16_can_not_hold_is_refused():
    model = simplified(traced(SPECS["transposed"])).model
    weight = next(one for one in model.graph.initializer if len(one.dims) == 4)
    values = numpy_helper.to_array(weight).copy()
    values.flat[3] = -1e5
    weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    with pytest.raises(HalfError, match=r"^a weight of 1e\+05 is beyond float16's 65504$"):
        half(model)


def test_an_operator_without_float16_is_refused():
    """Rounding whose scale must be of the type of what is rounded, on values before the pixels."""
    z, image, pixels = (
        helper.make_tensor_value_info("z", TensorProto.FLOAT, ["N", 4]),
        helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", 4]),
        helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["N", 4]),
    )
    nodes = [
        helper.make_node("QuantizeLinear", ["z", "scale", "zero"], ["image"]),
        helper.make_node("Tanh", ["z"], ["pixels"]),
    ]
    constants = [numpy_helper.from_array(np.float32(1), "scale"), numpy_helper.from_array(np.uint8(0), "zero")]
    graph = helper.make_graph(nodes, "g", [z], [image, pixels], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    with pytest.raises(HalfError, match=r"^an operator does not take float16: "):
        half(model)


@pytest.mark.parametrize("behind", [nn.Identity(), Rescaled(0.5, 0.5), Rescaled(1.0, 0.0)])
def test_what_rescales_the_last_activation_stays_float32(behind: nn.Module):
    class Ranged(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net, self.behind = nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 256)), behind

        def forward(self, z: torch.Tensor) -> torch.Tensor:
            return self.behind(torch.sigmoid(self.net(z)).view(-1, 1, 16, 16))

    torch.manual_seed(0)
    found = half(simplified(capture(Ranged().eval(), 8, 0)).model)
    types = types_of(found)
    made = {node.op_type: node.output[0] for node in found.graph.node}
    assert types[made["Sigmoid"]] == TensorProto.FLOAT
    shaped = [name for node in found.graph.node if node.op_type in ("Mul", "Sub", "Reshape") for name in node.output]
    assert {types[name] for name in shaped} == {TensorProto.FLOAT}
    assert types[made["Relu"]] == TensorProto.FLOAT16
