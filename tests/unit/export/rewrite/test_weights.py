"""Weights that are computed of other weights, and what is left to the runtime all the same."""

import copy

import numpy as np
import pytest
import torch
from onnx import helper
from torch import Tensor, nn

from gan_export.capture import capture
from gan_export.rewrite import weights
from gan_export.rewrite.work import layer_names, work_by_layer
from gan_export.tuning import simplified

CHANNELS = 32  # weights of 9,216 numbers: the exporter leaves those of more than 8,192 to the runtime


class Scaled(nn.Module):
    """An equalised learning rate, as ProGAN and StyleGAN have it."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(CHANNELS, CHANNELS, 3, 3))

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.conv2d(x, self.weight * (2 / (CHANNELS * 9)) ** 0.5, padding=1)


class Standardised(Scaled):
    def forward(self, x: Tensor) -> Tensor:
        mean = self.weight.mean((1, 2, 3), keepdim=True)
        return nn.functional.conv2d(x, (self.weight - mean) / self.weight.std((1, 2, 3), keepdim=True), padding=1)


class Net(nn.Module):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer, self.last = layer, nn.Conv2d(CHANNELS, 1, 1)

    def forward(self, z: Tensor) -> Tensor:
        h = z.view(z.size(0), -1, 1, 1)
        return torch.tanh(self.last(torch.relu(self.layer(nn.functional.interpolate(h, scale_factor=4)))))


def normed() -> nn.Module:
    return nn.utils.spectral_norm(nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1))


@pytest.mark.slow
@pytest.mark.parametrize("make", [Scaled, Standardised, normed])
def test_layers_of_normed_weights_are_known(make, assert_same):
    torch.manual_seed(0)
    traced = capture(copy.deepcopy(Net(make()).eval()), CHANNELS, 0)
    traced.graph.input[0].name = "x"  # as `assert_same` has it
    for node in traced.graph.node:
        node.input[:] = ["x" if name == "z" else name for name in node.input]
    found = simplified(traced)
    assert {"weights", "reshapes"} <= {each.name for each in found.rewrites}
    names, work = layer_names(found.model), work_by_layer(found.model)
    assert {names[layer]: flop for layer, flop in work.items()} == {
        "layer": 2 * 16 * 9 * CHANNELS**2,
        "last": 2 * 16 * CHANNELS,
    }
    pixels_alone = copy.deepcopy(traced)
    del pixels_alone.graph.output[0]  # bytes may be rounded the other way
    other = copy.deepcopy(found.model)
    del other.graph.output[0]
    assert_same(pixels_alone, other)


def test_noise_what_is_larger_and_what_is_for_integer_kernels_is_left(make_graph, operators):
    nodes = [
        helper.make_node("RandomNormalLike", ["w"], ["noise"]),
        helper.make_node("DequantizeLinear", ["bytes", "scale"], ["bent"]),
        helper.make_node("Expand", ["row", "shape"], ["rows"]),
        helper.make_node("Sum", ["x", "noise", "bent", "rows"], ["y"]),
    ]
    constants = {"w": (4, 6), "bytes": np.ones((4, 6), np.int8), "scale": np.array(0.1, np.float32)}
    model = make_graph(nodes, (6,), constants | {"row": (6,), "shape": np.array([4, 6])})
    assert operators(weights(model)) == operators(model)


def test_only_what_something_else_uses_is_stored(make_graph, assert_same, operators):
    nodes = [
        helper.make_node("Mul", ["w.weight", "scale"], ["half"]),
        helper.make_node("Transpose", ["half"], ["turned"]),
        helper.make_node("Neg", ["half"], ["nobody's"]),
        helper.make_node("MatMul", ["x", "turned"], ["y"]),
    ]
    before = make_graph(nodes, (6,), {"w.weight": (4, 6), "scale": np.array(0.5, np.float32)})
    after = weights(before)
    assert operators(after) == ["MatMul"]
    assert [each.name for each in after.graph.initializer] == ["w.weight.computed"]
    assert_same(before, after)
