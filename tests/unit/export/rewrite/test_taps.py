"""Convolutions to a few maps as two: the same numbers for every kernel, stride, padding and dilation."""

import pytest
from onnx import helper

from gan_export.rewrite import taps, thin_layers

CASES = {
    "image": ({"pads": [1, 1, 1, 1]}, (3, 3)),
    "no padding": ({}, (3, 3)),
    "strides": ({"strides": [2, 3], "pads": [1, 0, 0, 1]}, (2, 3)),
    "dilated": ({"dilations": [2, 1], "pads": [2, 1, 2, 1]}, (3, 3)),
    "padding that is not written out": ({"auto_pad": "SAME_UPPER"}, (3, 3)),
}


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("bias", [["b"], []], ids=["bias", "none"])
@pytest.mark.parametrize("name", CASES)
def test_the_numbers_are_the_same(make_graph, assert_same, operators, name, bias, outputs):
    attributes, kernel = CASES[name]
    nodes = [helper.make_node("Conv", ["x", "w", *bias], ["y"], **attributes)]
    before = make_graph(nodes, (80, 7, 6), {"w": (outputs, 80, *kernel), "b": (outputs,)})
    assert thin_layers(before) == ["y"]
    after = taps(before)
    assert operators(after) == ["Conv", "Conv"]
    assert_same(before, after, tolerance=1e-4)  # sums of 720 products


def test_only_the_named_layer_is_written_anew(make_graph, assert_same, operators):
    nodes = [helper.make_node("Conv", ["x", name], [made]) for name, made in (("w", "y"), ("v", "z"))]
    nodes.append(helper.make_node("Add", ["y", "z"], ["end"]))
    before = make_graph(nodes, (80, 7, 6), {"w": (1, 80, 3, 3), "v": (1, 80, 3, 3)})
    after = taps(before, ["z"])
    assert operators(after).count("Conv") == 3
    assert_same(before, after, tolerance=1e-4)


@pytest.mark.parametrize(
    ("shape", "attributes"),
    [
        ((3, 16, 3, 3), {}),  # the second convolution would take more than the first saves
        ((3, 80, 1, 1), {}),
        ((4, 80, 3, 3), {}),  # 36 products, more than two blocks
        ((16, 80, 3, 3), {}),
        ((2, 40, 3, 3), {"group": 2}),
    ],
)
def test_layers_that_would_not_gain_are_not_thin(make_graph, shape, attributes):
    node = helper.make_node("Conv", ["x", "w"], ["y"], **attributes)
    model = make_graph([node], (shape[1] * attributes.get("group", 1), 7, 6), {"w": shape})
    assert thin_layers(model) == []


def test_weights_that_are_computed_are_left_alone(make_graph):
    nodes = [helper.make_node("Abs", ["v"], ["w"]), helper.make_node("Conv", ["x", "w"], ["y"])]
    assert thin_layers(make_graph(nodes, (80, 7, 6), {"v": (3, 80, 3, 3)})) == []
