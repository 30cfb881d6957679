"""Transposed convolutions as plain ones: the same numbers for every size, stride, padding, group and dilation."""

from itertools import product

import numpy as np
import pytest
from onnx import helper, numpy_helper

from gan_export.rewrite import FORMS, phases, split_layers
from gan_export.tuning import RewrittenGraph, split

CASES = {  # kernel, stride, pads, output padding, dilations, groups
    "dcgan": ([4, 4], [2, 2], [1, 1, 1, 1], [0, 0], [1, 1], 1),
    "no overlap": ([2, 2], [2, 2], [0, 0, 0, 0], [0, 0], [1, 1], 1),
    "odd kernel": ([3, 3], [2, 2], [1, 1, 1, 1], [1, 1], [1, 1], 1),
    "odd result": ([3, 3], [2, 2], [1, 1, 1, 1], [0, 0], [1, 1], 1),
    "five, two": ([5, 5], [2, 2], [2, 2, 2, 2], [1, 1], [1, 1], 1),
    "uneven": ([4, 3], [2, 3], [0, 1, 2, 0], [1, 2], [1, 1], 1),
    "one axis": ([4, 3], [2, 1], [1, 1, 1, 1], [0, 0], [1, 1], 1),
    "gaps": ([2, 2], [3, 3], [0, 0, 0, 0], [1, 0], [1, 1], 1),
    "more padding than kernel": ([2, 2], [2, 2], [1, 1, 1, 1], [0, 0], [1, 1], 1),
    "dilated": ([3, 3], [2, 2], [1, 1, 1, 1], [1, 1], [2, 2], 1),
    "dilated oddly": ([3, 2], [2, 3], [2, 0, 1, 1], [0, 1], [3, 2], 1),
    "groups": ([4, 4], [2, 2], [1, 1, 1, 1], [0, 0], [1, 1], 2),
    "groups, uneven": ([3, 4], [2, 3], [1, 0, 0, 1], [1, 0], [1, 1], 4),
}
ALPHA = {"LeakyRelu": {"alpha": 0.2}}
BOUNDS = {"Clip": {"low": -0.3, "high": 0.5}}


@pytest.mark.parametrize(("form", "name"), [*product(FORMS, CASES)])
@pytest.mark.parametrize("size", [(4, 4), (5, 7), (2, 3)])
def test_the_numbers_are_the_same(make_graph, assert_same, operators, form, name, size):
    kernel, strides, pads, extra, dilations, groups = CASES[name]
    node = helper.make_node(
        "ConvTranspose", ["x", "w", "b"], ["y"], strides=strides, pads=pads, output_padding=extra,
        dilations=dilations, group=groups,
    )  # fmt: skip
    before = make_graph([node], (8, *size), {"w": (8, 12 // groups, *kernel), "b": (12,)})
    after = phases(before, form)
    if form == "windows" and groups > 1:
        assert split_layers(before, form) == []
        assert operators(after) == ["ConvTranspose"]
        return
    assert split_layers(before, form) == ["y"]
    assert "ConvTranspose" not in operators(after)
    convolutions = operators(after).count("Conv")
    assert convolutions == (1 if form == "windows" else strides[0] * strides[1])
    assert_same(before, after)


@pytest.mark.parametrize(
    ("kernel", "pads", "dilations", "groups"),
    [
        ([3, 3], [1, 1, 1, 1], [1, 1], 1),
        ([4, 4], [0, 0, 0, 0], [1, 1], 1),
        ([3, 2], [0, 1, 2, 0], [2, 3], 1),
        ([3, 3], [1, 1, 1, 1], [1, 1], 4),
        ([2, 2], [2, 2, 2, 2], [1, 1], 1),  # more than the kernel: the input is cut
    ],
)
@pytest.mark.parametrize("size", [(4, 4), (5, 7)])
def test_without_a_stride_it_is_one_convolution(
    make_graph, assert_same, operators, kernel, pads, dilations, groups, size
):
    more = {"strides": [1, 1], "pads": pads, "dilations": dilations, "group": groups}
    nodes = [helper.make_node("ConvTranspose", ["x", "w", "b"], ["h"], **more), helper.make_node("Relu", ["h"], ["y"])]
    before = make_graph(nodes, (8, *size), {"w": (8, 12 // groups, *kernel), "b": (12,)})
    assert split_layers(before, "windows") == []
    after = split(RewrittenGraph(before)).model
    assert operators(after) == ["Conv", "Relu"]
    assert_same(before, after)


@pytest.mark.parametrize("more", [{"auto_pad": "SAME_UPPER"}, {"auto_pad": "SAME_LOWER"}, {"pads": [2, 2, 2, 2]}, {}])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("kernel", "attributes", "result"),
    [
        ([4, 4], {"strides": [2, 2]}, (10, 14)),
        ([5, 5], {"strides": [2, 2]}, (10, 14)),  # as TensorFlow's "same" has it: an odd number of rows to cut off
        ([3, 4], {"strides": [2, 3], "dilations": [2, 1], "output_padding": [1, 2]}, (11, 20)),
        ([4, 4], {"strides": [2, 2]}, (11, 13)),
    ],
)
def test_a_size_of_the_result_that_is_given_counts_in_the_place_of_padding(
    make_graph, assert_same, operators, form, kernel, attributes, result, more
):
    node = helper.make_node("ConvTranspose", ["x", "w", "b"], ["y"], output_shape=result, **attributes, **more)
    before = make_graph([node], (4, 5, 7), {"w": (4, 3, *kernel), "b": (3,)})
    after = phases(before, form)
    assert "ConvTranspose" not in operators(after)
    assert_same(before, after)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("activation", ["Relu", "LeakyRelu", "Clip", "Tanh", "Sigmoid"])
def test_an_activation_is_taken_before_the_numbers_are_interleaved(
    make_graph, assert_same, operators, form, activation
):
    nodes = [
        helper.make_node("ConvTranspose", ["x", "w"], ["h"], strides=[2, 2], pads=[1] * 4),
        helper.make_node(activation, ["h", *BOUNDS.get(activation, {})], ["y"], **ALPHA.get(activation, {})),
    ]
    before = make_graph(nodes, (6, 5, 3), {"w": (6, 3, 4, 4)})
    before.graph.initializer.extend(
        numpy_helper.from_array(np.float32(bound), name) for name, bound in BOUNDS.get(activation, {}).items()
    )
    after = phases(before, form)
    found = operators(after)
    assert [found[i + 1] for i, kind in enumerate(found) if kind == "Conv"] == [activation] * found.count("Conv")
    assert found.count(activation) == found.count("Conv")
    assert_same(before, after)


@pytest.mark.parametrize("form", FORMS)
def test_only_the_layers_that_were_asked_for(make_graph, assert_same, operators, form):
    layer = {"strides": [2, 2], "pads": [1] * 4}
    nodes = [
        helper.make_node("ConvTranspose", ["x", "w"], ["h"], **layer),
        helper.make_node("ConvTranspose", ["h", "w"], ["y"], **layer),
        helper.make_node("ConvTranspose", ["y", "w"], ["last"], **layer),
    ]
    before = make_graph(nodes, (4, 3, 3), {"w": (4, 4, 4, 4)}, outputs=("h", "last"))  # h is read and given out
    assert split_layers(before, form) == ["h", "y", "last"]
    after = phases(before, form, ["h", "last"])
    assert operators(after).count("ConvTranspose") == 1
    assert_same(before, after)


@pytest.mark.parametrize(
    ("attributes", "shape", "weight"),
    [
        ({"strides": [2]}, (4, 5), (4, 4, 3)),
        ({"strides": [2, 2], "auto_pad": "SAME_UPPER"}, (4, 5, 5), (4, 4, 4, 4)),
        ({"strides": [2, 2], "output_shape": [11, 10]}, (4, 5, 5), (4, 4, 2, 2)),  # larger than what is drawn
    ],
)
def test_others_stay(make_graph, attributes, shape, weight):
    model = make_graph([helper.make_node("ConvTranspose", ["x", "w"], ["y"], **attributes)], shape, {"w": weight})
    for form in FORMS:
        assert split_layers(model, form) == []
        assert list(phases(model, form).graph.node) == list(model.graph.node)


@pytest.mark.parametrize("form", FORMS)
def test_a_layer_whose_bias_is_computed_stays(make_graph, operators, form):
    nodes = [
        helper.make_node("Neg", ["b"], ["negative"]),
        helper.make_node("ConvTranspose", ["x", "w", "negative"], ["y"], strides=[2, 2]),
    ]
    model = make_graph(nodes, (4, 5, 5), {"w": (4, 3, 4, 4), "b": (3,)})
    assert split_layers(model, form) == []
    assert operators(phases(model, form)) == operators(model)


def test_split_takes_windows_and_phases_where_there_are_groups_and_says_which(make_graph, assert_same, operators):
    more = {"strides": [2, 2], "pads": [1, 1, 1, 1]}
    nodes = [
        helper.make_node("ConvTranspose", ["x", "a.weight"], ["h"], **more),
        helper.make_node("ConvTranspose", ["h", "b.weight"], ["y"], group=2, **more),
    ]
    before = make_graph(nodes, (6, 4, 5), {"a.weight": (6, 8, 4, 4), "b.weight": (8, 3, 4, 4)})
    after = split(RewrittenGraph(before))
    assert "ConvTranspose" not in operators(after.model)
    assert [(each.name, each.layer) for each in after.rewrites] == [("windows", "a"), ("phases", "b")]
    assert_same(before, after.model)
