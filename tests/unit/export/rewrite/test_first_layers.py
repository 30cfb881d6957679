"""The first layers: transposed convolutions of 1x1 maps, labels that are looked up, and shapes that are computed."""

import numpy as np
import pytest
from onnx import helper, numpy_helper

from gan_export.rewrite import labels, projections, reshapes


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"strides": [2, 2], "pads": [1, 0, 1, 2]},
        {"dilations": [2, 3]},
        {"strides": [3, 2], "output_padding": [2, 1]},
        {"strides": [2, 2], "pads": [1, 1, 1, 1], "output_shape": [3, 3]},  # one row to cut off, whatever pads say
        {"output_shape": [1, 2], "auto_pad": "SAME_UPPER"},
        {"output_shape": [1, 2], "auto_pad": "SAME_LOWER"},
    ],
)
def test_a_transposed_convolution_of_a_point_is_a_product(make_graph, assert_same, operators, attributes, bias):
    weights = {"axes": np.array([2, 3]), "w": (6, 5, 4, 4)} | ({"b": (5,)} if bias else {})
    nodes = [
        helper.make_node("Unsqueeze", ["x", "axes"], ["map"]),
        helper.make_node("ConvTranspose", ["map", "w", *["b"][: int(bias)]], ["y"], **attributes),
    ]
    before = make_graph(nodes, (6,), weights)
    after = projections(before)
    assert operators(after) == ["Gemm", "Reshape"]
    assert_same(before, after)


def test_a_map_that_is_given_as_one_is_flattened_and_larger_ones_stay(make_graph, assert_same, operators):
    node = helper.make_node("ConvTranspose", ["x", "w"], ["y"])
    point, area = (make_graph([node], (6, *size), {"w": (6, 5, 4, 4)}) for size in ((1, 1), (1, 2)))
    assert operators(projections(point)) == ["Reshape", "Gemm", "Reshape"]
    assert_same(point, projections(point))
    grouped = make_graph(
        [helper.make_node("ConvTranspose", ["x", "w"], ["y"], group=2)], (6, 1, 1), {"w": (6, 5, 4, 4)}
    )
    for model in (area, grouped):
        assert operators(projections(model)) == ["ConvTranspose"]


@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize(
    ("kind", "attributes", "weights"),
    [
        ("Gemm", {"transB": 1}, {"w": (7, 10), "b": (7,)}),
        ("Gemm", {"alpha": 0.5, "beta": 3.0}, {"w": (10, 7), "b": (7,)}),
        ("MatMul", {}, {"w": (10, 7)}),
    ],
)
def test_a_label_is_looked_up_in_a_table(make_graph, assert_same, operators, kind, attributes, weights, last):
    joined = ["x", "e"] if last else ["e", "x"]
    nodes = [
        helper.make_node("Gather", ["embedding", "label"], ["e"]),
        helper.make_node("Concat", joined, ["c"], axis=1),
        helper.make_node(kind, ["c", *weights], ["y"], **attributes),
    ]
    before = make_graph(nodes, (6,), weights | {"embedding": (3, 4)}, label=True)
    after = labels(before)
    assert operators(after) == ["Gather", "Gemm"]
    assert sorted(tuple(tensor.dims) for tensor in after.graph.initializer) == [(3, 7), (6, 7)]
    assert_same(before, after)


@pytest.mark.parametrize(
    ("gather", "joined", "product", "shape", "weights"),
    [
        ({}, ["x", "e"], {"transA": 1}, (6,), {"embedding": (3, 4), "w": (10, 7)}),
        ({}, ["x", "x", "e"], {}, (2,), {"embedding": (3, 4), "w": (8, 7)}),
        ({"axis": 1}, ["x", "e"], {}, (6,), {"embedding": (3, 4), "w": (10, 7)}),  # a column for each image
    ],
)
def test_a_label_that_is_joined_otherwise_stays(make_graph, operators, gather, joined, product, shape, weights):
    nodes = [
        helper.make_node("Gather", ["embedding", "label"], ["e"], **gather),
        helper.make_node("Concat", joined, ["c"], axis=1),
        helper.make_node("Gemm", ["c", "w"], ["y"], **product),
    ]
    model = make_graph(nodes, shape, weights, label=True)
    assert operators(labels(model)) == ["Gather", "Concat", "Gemm"]


def test_a_label_that_does_more_or_would_need_a_large_table_stays(make_graph, assert_same, operators):
    embed = helper.make_node("Gather", ["embedding", "label"], ["e"])
    product = [embed, helper.make_node("Mul", ["e", "x"], ["h"]), helper.make_node("Gemm", ["h", "w"], ["y"])]
    scaled = make_graph(product, (6,), {"embedding": (3, 6), "w": (6, 7)}, label=True)
    joined = [embed, helper.make_node("Concat", ["x", "e"], ["c"], axis=1)]
    gemm = helper.make_node("Gemm", ["c", "w"], ["y"])
    large = make_graph([*joined, gemm], (6,), {"embedding": (70_000, 1), "w": (7, 64)}, label=True)
    for model in (scaled, large):
        assert operators(labels(model)) == operators(model)
    skip = [
        *joined,
        gemm,
        helper.make_node("Concat", ["y", "c"], ["z"], axis=1),
    ]  # the embedding goes on to another layer
    both = make_graph(skip, (6,), {"embedding": (3, 4), "w": (10, 7)}, label=True)
    assert_same(both, labels(both))


@pytest.mark.parametrize(("sizes", "known"), [([8, 3, 5], [8, 3, 5]), ([-1, 5], [24, 5]), ([2, -1, 1], [2, 60, 1])])
@pytest.mark.parametrize("of_whole_shape", [False, True])
def test_a_shape_of_which_only_the_batch_is_computed_is_a_constant(
    make_graph, assert_same, operators, sizes, known, of_whole_shape
):
    """As `x.view(x.size(0), -1, 5)`, of both exporters of torch."""
    nodes = [
        helper.make_node("Shape", ["x"], ["batch"], end=1),
        helper.make_node("Concat", ["batch", "rest"], ["sizes"], axis=0),
        helper.make_node("Reshape", ["x", "sizes"], ["y"]),
    ]
    if of_whole_shape:
        nodes[:1] = [
            helper.make_node("Shape", ["x"], ["shape"]),
            helper.make_node("Gather", ["shape", "zero"], ["first"]),
            helper.make_node("Unsqueeze", ["first", "axes"], ["batch"]),
        ]
    before = make_graph(nodes, (120,), {"rest": np.array(sizes), "zero": np.array(0), "axes": np.array([0])})
    after = reshapes(before)
    assert operators(after) == ["Reshape"]
    assert [numpy_helper.to_array(each).tolist() for each in after.graph.initializer] == [[-1, *known]]
    assert_same(before, after)


@pytest.mark.parametrize("first", ["twice the batch", "another dimension"])
def test_a_shape_whose_first_size_is_not_the_batch_stays(make_graph, operators, first):
    """-1 is then not what is left for an image."""
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"], end=1),
        helper.make_node("Mul", ["shape", "two"], ["batch"]),
        helper.make_node("Concat", ["batch", "rest"], ["sizes"], axis=0),
        helper.make_node("Reshape", ["x", "sizes"], ["y"]),
    ]
    if first == "another dimension":
        nodes[:2] = [helper.make_node("Shape", ["x"], ["batch"], start=1)]
    model = make_graph(nodes, (12,), {"rest": np.array([-1]), "two": np.array([2])})
    assert operators(reshapes(model)) == operators(model)


def test_a_size_that_is_found_tells_those_behind_it(make_graph, assert_same, operators):
    nodes = [
        helper.make_node("Shape", ["x"], ["batch"], end=1),
        helper.make_node("Concat", ["batch", "maps"], ["sizes"], axis=0),
        helper.make_node("Reshape", ["x", "sizes"], ["h"]),
        helper.make_node("Conv", ["h", "w"], ["c"]),
        helper.make_node("Shape", ["c"], ["again"], end=1),
        helper.make_node("Concat", ["again", "flat"], ["row"], axis=0),
        helper.make_node("Reshape", ["c", "row"], ["y"]),
    ]
    weights = {"maps": np.array([-1, 2, 2]), "flat": np.array([-1]), "w": (5, 3, 1, 1)}
    before = make_graph(nodes, (12,), weights)
    after = reshapes(before)
    assert operators(after) == ["Reshape", "Conv", "Reshape"]
    assert_same(before, after)


def test_a_batch_that_is_not_the_first_dimension_stays(make_graph, operators):
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"], end=1),
        helper.make_node("Concat", ["rest", "shape"], ["sizes"], axis=0),
        helper.make_node("Reshape", ["x", "sizes"], ["y"]),
    ]
    model = make_graph(nodes, (12,), {"rest": np.array([12])})
    assert operators(reshapes(model)) == operators(model)
