"""BatchNorm folded into the layer before it: the same numbers, and left where something else sees that layer."""

import numpy as np
import pytest
from onnx import helper

from gan_export.rewrite import batch_norms, depthwise_norms

STATISTICS = {"scale": (8,), "shift": (8,), "mean": (8,), "variance": np.linspace(0.5, 2, 8, dtype=np.float32)}
NORM = ["scale", "shift", "mean", "variance"]


def norm(given: str = "h", made: str = "y", **attributes: object):
    return helper.make_node("BatchNormalization", [given, *NORM], [made], epsilon=0.8, **attributes)


LAYERS = {
    "conv": ("Conv", {"pads": [1] * 4}, (4, 5, 7), {"w": (8, 4, 3, 3)}),
    "conv, groups and bias": ("Conv", {"group": 2}, (4, 5, 7), {"w": (8, 2, 3, 3), "b": (8,)}),
    "transposed": ("ConvTranspose", {"strides": [2, 2]}, (4, 5, 7), {"w": (4, 8, 3, 3)}),
    "transposed, groups and bias": ("ConvTranspose", {"group": 4}, (4, 5, 7), {"w": (4, 2, 4, 4), "b": (8,)}),
    "transposed, one dimension": ("ConvTranspose", {"strides": [2]}, (4, 5), {"w": (4, 8, 3)}),
    "product": ("Gemm", {}, (6,), {"w": (6, 8)}),
    "product, turned and scaled": ("Gemm", {"transB": 1, "alpha": 0.5, "beta": 2.0}, (6,), {"w": (8, 6), "b": (8,)}),
    "product, bias for all": ("Gemm", {"beta": 2.0}, (6,), {"w": (6, 8), "b": (1,)}),
    "matmul": ("MatMul", {}, (6,), {"w": (6, 8)}),
}


@pytest.mark.parametrize("name", LAYERS)
def test_it_is_folded(make_graph, assert_same, operators, name):
    kind, attributes, shape, weights = LAYERS[name]
    nodes = [helper.make_node(kind, ["x", *weights], ["h"], **attributes), norm()]
    before = make_graph(nodes, shape, weights | STATISTICS)
    after = batch_norms(before)
    assert operators(after) == ["Gemm" if kind == "MatMul" else kind]
    assert {tensor.name for tensor in after.graph.initializer}.isdisjoint(NORM)
    assert_same(before, after)


@pytest.mark.parametrize("kind", ["Gemm", "MatMul"])
def test_across_a_reshape(make_graph, assert_same, operators, kind):
    nodes = [
        helper.make_node(kind, ["x", "w"], ["flat"]),
        helper.make_node("Reshape", ["flat", "sizes"], ["h"]),
        norm(),
    ]
    before = make_graph(nodes, (6,), {"w": (6, 8 * 15), "sizes": np.array([-1, 8, 3, 5])} | STATISTICS)
    after = batch_norms(before)
    assert operators(after) == ["Gemm", "Reshape"]
    assert_same(before, after)


def test_it_stays_where_something_else_sees_the_layer_or_there_is_none(make_graph, operators):
    layer, weights = helper.make_node("Conv", ["x", "w"], ["h"]), {"w": (8, 8, 1, 1)} | STATISTICS
    seen = make_graph([layer, norm(), helper.make_node("Add", ["h", "y"], ["z"])], (8, 3, 3), weights)
    given = make_graph([layer, norm()], (8, 3, 3), weights, outputs=("h", "y"))
    alone = make_graph([norm("x")], (8, 3, 3), STATISTICS)
    other = make_graph([helper.make_node("Relu", ["x"], ["h"]), norm()], (8, 3, 3), STATISTICS)
    for model in (seen, given, alone, other):
        assert operators(batch_norms(model)) == operators(model)


@pytest.mark.parametrize(
    ("kind", "attributes", "shape", "weights"),
    [
        ("Conv", {}, (8, 3, 3), {"w": (8, 8, 1, 1), "scale": np.ones(8), "shift": np.ones(8)}),  # in float64
        ("Conv", {}, (8, 3, 3), {"w": (8, 8, 1, 1), "mean": np.ones(8), "variance": np.ones(8)}),
        ("Gemm", {"transA": 1}, (6,), {"w": (6, 8)}),
        ("Gemm", {}, (6,), {"w": (6, 8), "b": (5, 1)}),  # one for each image of a batch of five
    ],
)
def test_other_layers_keep_theirs(make_graph, operators, kind, attributes, shape, weights):
    given = [name for name in weights if name in ("w", "b")]
    nodes = [helper.make_node(kind, ["x", *given], ["h"], **attributes), norm()]
    model = make_graph(nodes, shape, STATISTICS | weights)
    assert operators(batch_norms(model)) == [kind, "BatchNormalization"]


def test_statistics_of_the_batch_itself_are_not_folded(make_graph, operators):
    training = helper.make_node("BatchNormalization", ["h", *NORM], ["y", "means", "variances"], training_mode=1)
    nodes = [helper.make_node("Conv", ["x", "w"], ["h"]), training]
    model = make_graph(nodes, (8, 3, 3), {"w": (8, 8, 1, 1)} | STATISTICS)
    assert operators(batch_norms(model)) == operators(model)


def test_a_reshape_of_one_row_into_several_images_stays(make_graph, operators):
    nodes = [
        helper.make_node("Gemm", ["x", "w"], ["flat"]),
        helper.make_node("Reshape", ["flat", "sizes"], ["h"]),
        norm(),
    ]
    model = make_graph(nodes, (6,), {"w": (6, 2 * 8 * 15), "sizes": np.array([-1, 8, 3, 5])} | STATISTICS)
    assert operators(batch_norms(model)) == operators(model)


def test_a_channel_that_is_no_run_of_the_layer_before_stays(make_graph, operators):
    nodes = [
        helper.make_node("Gemm", ["x", "w"], ["flat"]),
        helper.make_node("Reshape", ["flat", "sizes"], ["map"]),
        helper.make_node("Transpose", ["map"], ["h"], perm=[0, 3, 1, 2]),
        norm(),
    ]
    model = make_graph(nodes, (6,), {"w": (6, 8 * 6), "sizes": np.array([-1, 2, 3, 8])} | STATISTICS)
    assert operators(batch_norms(model)) == operators(model)


def test_a_weight_that_two_layers_share_is_folded_for_one(make_graph, assert_same, operators):
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["h"]),
        norm(made="a"),
        helper.make_node("Conv", ["x", "w"], ["b"]),
        helper.make_node("Add", ["a", "b"], ["y"]),
    ]
    before = make_graph(nodes, (4, 3, 3), {"w": (8, 4, 1, 1)} | STATISTICS)
    after = batch_norms(before)
    assert operators(after) == ["Conv", "Conv", "Add"]
    assert_same(before, after)


@pytest.mark.parametrize("after", [[], ["Relu"]])
def test_a_norm_that_is_left_can_be_a_convolution(make_graph, assert_same, operators, after):
    nodes = [norm(given="x", made="h" if after else "y"), *(helper.make_node(kind, ["h"], ["y"]) for kind in after)]
    before = make_graph(nodes, (8, 3, 5), STATISTICS)
    written = depthwise_norms(before)
    assert operators(written) == ["Conv", *after]
    assert_same(before, written)


@pytest.mark.parametrize("shape", [(8,), (8, 5)])
def test_norms_of_what_has_no_height_and_width_stay(make_graph, operators, shape):
    assert operators(depthwise_norms(make_graph([norm(given="x")], shape, STATISTICS))) == ["BatchNormalization"]


def test_norms_with_statistics_of_the_batch_stay(make_graph, operators):
    training = helper.make_node("BatchNormalization", ["x", *NORM], ["y", "means", "variances"], training_mode=1)
    assert operators(depthwise_norms(make_graph([training], (8, 3, 3), STATISTICS))) == ["BatchNormalization"]
