"""Convolutions as matrix products of their windows: the same numbers for every size, stride, padding and dilation."""

import numpy as np
import pytest
from onnx import helper, numpy_helper

from gan_export.rewrite.editing import Editor
from gan_export.rewrite.im2col import im2col, weights_by_row, windows_of

CASES = {  # kernel, strides, pads, dilations
    "same": ([3, 3], [1, 1], [1, 1, 1, 1], [1, 1]),
    "no padding": ([3, 2], [1, 1], [0, 0, 0, 0], [1, 1]),
    "strides": ([3, 3], [2, 3], [1, 1, 1, 1], [1, 1]),
    "uneven": ([2, 4], [1, 2], [0, 3, 1, 0], [1, 1]),
    "dilated": ([2, 3], [1, 2], [2, 0, 1, 3], [3, 2]),
    "pointwise": ([1, 1], [1, 1], [0, 0, 0, 0], [1, 1]),
    "more padding than kernel": ([2, 2], [1, 1], [3, 3, 3, 3], [1, 1]),
}


def conv(**attributes):
    return helper.make_node("Conv", ["x", "w", *attributes.pop("bias", [])], ["y"], **attributes)


@pytest.mark.parametrize("size", [(5, 5), (4, 7), (8, 5)])
@pytest.mark.parametrize("bias", [["b"], []], ids=["bias", "none"])
@pytest.mark.parametrize("name", CASES)
def test_the_numbers_are_the_same(make_graph, assert_same, operators, name, bias, size):
    kernel, strides, pads, dilations = CASES[name]
    nodes = [conv(bias=bias, strides=strides, pads=pads, dilations=dilations)]
    before = make_graph(nodes, (6, *size), {"w": (4, 6, *kernel), "b": (4,)})
    after, products = im2col(before, ["y"])
    assert operators(after).count("Gemm") == 1
    assert "Conv" not in operators(after)
    assert next(node for node in after.graph.node if node.op_type == "Gemm").output[0] == products["y"]
    assert_same(before, after)


def test_the_weights_are_in_the_order_of_the_windows(make_graph):
    before = make_graph([conv(pads=[1, 1, 1, 1])], (6, 5, 5), {"w": (4, 6, 3, 2)})
    after, _ = im2col(before, ["y"])
    gemm = next(node for node in after.graph.node if node.op_type == "Gemm")
    weight = numpy_helper.to_array(before.graph.initializer[0])
    assert np.array_equal(Editor(after).constant(gemm.input[1]), weights_by_row(weight))


def test_layers_that_are_not_named_stay(make_graph, assert_same, operators):
    nodes = [conv(), helper.make_node("Conv", ["y", "v"], ["end"])]
    before = make_graph(nodes, (6, 5, 5), {"w": (4, 6, 3, 3), "v": (2, 4, 1, 1)})
    after, products = im2col(before, ["end"])
    assert list(products) == ["end"]
    assert operators(after).count("Conv") == 1
    assert_same(before, after)


@pytest.mark.parametrize(
    ("nodes", "weights"),
    [
        ([conv(group=2)], {"w": (4, 3, 3, 3)}),
        ([conv(auto_pad="SAME_UPPER")], {"w": (4, 6, 3, 3)}),
        ([helper.make_node("Abs", ["v"], ["w"]), conv()], {"v": (4, 6, 3, 3)}),
        ([helper.make_node("Relu", ["x"], ["y"])], {}),
        ([helper.make_node("ConvTranspose", ["x", "w"], ["y"])], {"w": (6, 4, 3, 3)}),
    ],
    ids=["groups", "padding that is not written out", "weights that are computed", "no layer", "transposed"],
)
def test_what_can_t_be_gathered_has_no_windows(make_graph, nodes, weights):
    assert windows_of(Editor(make_graph(nodes, (6, 5, 5), weights)), "y") is None


@pytest.mark.parametrize("shape", [(6, 7), (6, 0, 5)], ids=["one axis", "an unknown size"])
def test_other_maps_have_no_windows(make_graph, shape):
    kernel = (4, 6, *[3] * (len(shape) - 1))
    model = make_graph([conv()], [size or 5 for size in shape], {"w": kernel})
    if not all(shape):
        model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "height"
        del model.graph.value_info[:]
        model.graph.output[0].type.tensor_type.ClearField("shape")
    assert windows_of(Editor(model), "y") is None
