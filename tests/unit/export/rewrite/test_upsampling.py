"""Nearest upsampling and a convolution as one transposed convolution, and 1x1 convolutions before upsampling."""

import numpy as np
import pytest
from onnx import helper

from gan_export.rewrite import FORMS, phases, pointwise, upsampled_layers, upsampling
from gan_export.tuning import simplified

REPEAT = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
HALF = {"mode": "nearest", "coordinate_transformation_mode": "half_pixel", "nearest_mode": "round_prefer_floor"}
BILINEAR = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
CASES = {  # how it is enlarged, by how much, kernel, pads, groups
    "wgan": (REPEAT, (2, 2), (3, 3), [1] * 4, 1),
    "half pixels": (HALF, (2, 2), (3, 3), [1] * 4, 1),
    "three": (REPEAT, (3, 3), (5, 5), [2] * 4, 1),
    "half pixels, three": (HALF, (3, 2), (3, 3), [1] * 4, 1),
    "uneven": (REPEAT, (2, 3), (4, 3), [0, 2, 3, 1], 1),
    "no padding": (REPEAT, (2, 2), (3, 3), [0] * 4, 1),
    "one axis": (REPEAT, (2, 1), (3, 3), [1] * 4, 1),
    "groups": (REPEAT, (2, 2), (3, 3), [1] * 4, 2),
}


def enlarged(how: dict[str, str], kernel: object, scales: tuple[float, ...], **attributes: object):
    """Scales of height and width, or of all four dimensions."""
    nodes = [
        helper.make_node("Resize", ["x", "", "scales"], ["h"], **how),
        helper.make_node("Conv", ["h", "w", "b"], ["y"], **attributes),
    ]
    return nodes, {"w": kernel, "b": (6,), "scales": np.array([1, 1, *scales][-4:], np.float32)}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("size", [(4, 4), (3, 5)])
def test_the_numbers_are_the_same_also_in_phases(make_graph, assert_same, operators, name, size):
    how, scales, kernel, pads, groups = CASES[name]
    nodes, weights = enlarged(how, (6, 4 // groups, *kernel), scales, pads=pads, group=groups)
    before = make_graph(nodes, (4, *size), weights)
    assert upsampled_layers(before) == ["y"]
    after = upsampling(before, ["y"])
    assert operators(after) == ["ConvTranspose"]
    assert_same(before, after)
    for form in FORMS[: 1 if groups > 1 else 2]:
        assert_same(before, phases(after, form))


def test_with_a_kernel_of_three_a_quarter_of_the_outputs_needs_four_ninths_of_the_products(make_graph):
    nodes, weights = enlarged(REPEAT, (6, 4, 3, 3), (2, 2), pads=[1] * 4)
    after = phases(upsampling(make_graph(nodes, (4, 8, 8), weights)), "phases")
    kernels = [tensor.dims for tensor in after.graph.initializer if len(tensor.dims) == 4]
    assert [tuple(dims) for dims in kernels] == [(6, 4, 2, 2)] * 4


@pytest.mark.parametrize(
    ("how", "kernel", "scales", "attributes"),
    [
        (BILINEAR, (6, 4, 3, 3), (2, 2), {"pads": [1] * 4}),
        (REPEAT | {"nearest_mode": "ceil"}, (6, 4, 3, 3), (2, 2), {"pads": [1] * 4}),
        (REPEAT | {"nearest_mode": "round_prefer_floor"}, (6, 4, 3, 3), (2, 2), {"pads": [1] * 4}),
        (HALF | {"nearest_mode": "floor"}, (6, 4, 3, 3), (2, 2), {"pads": [1] * 4}),
        (REPEAT, (6, 4, 3, 3), (1.5, 2), {"pads": [1] * 4}),
        (REPEAT, (6, 8, 3, 3), (1, 2, 2, 2), {"pads": [1] * 4}),  # channels are repeated too
        (REPEAT, (6, 4, 3, 3), (2, 1, 2, 2), {"pads": [1] * 4}),  # and images
        (REPEAT, (6, 4, 3, 3), (2, 2), {"strides": [2, 2]}),
        (REPEAT, (6, 4, 3, 3), (2, 2), {"dilations": [2, 2]}),
        (REPEAT, (6, 4, 3, 3), (2, 2), {"pads": [3] * 4}),
    ],
)
def test_others_stay(make_graph, operators, how, kernel, scales, attributes):
    nodes, weights = enlarged(how, kernel, scales, **attributes)
    model = make_graph(nodes, (4, 5, 5), weights)
    assert upsampled_layers(model) == []
    assert operators(upsampling(model)) == ["Resize", "Conv"]


@pytest.mark.parametrize(("how", "scales"), [(BILINEAR, (2, 2)), (BILINEAR, (3, 1.5)), (REPEAT, (2, 3))])
def test_a_pointwise_convolution_is_done_before(make_graph, assert_same, operators, how, scales):
    nodes, weights = enlarged(how, (6, 8, 1, 1), scales)
    before = make_graph(nodes, (8, 4, 3), weights)
    after = pointwise(before)
    assert operators(after) == ["Conv", "Resize"]
    assert_same(before, after)


def test_a_rewrite_that_leaves_as_many_nodes_is_named_too(make_graph):
    nodes, weights = enlarged(REPEAT, (6, 8, 1, 1), (2, 2))
    assert [each.name for each in simplified(make_graph(nodes, (8, 4, 3), weights)).rewrites] == ["pointwise"]
    assert simplified(make_graph(nodes[1:], (8, 4, 3), weights | {"h": (1, 8, 4, 3)})).rewrites == []


@pytest.mark.parametrize(
    ("kernel", "scales", "attributes"),
    [
        ((6, 4, 1, 1), (2, 2), {}),  # it makes more channels, so that more would be enlarged
        ((6, 8, 3, 3), (2, 2), {"pads": [1] * 4}),
        ((6, 8, 1, 1), (2, 2), {"pads": [1] * 4}),
        ((6, 8, 1, 1), (2, 2), {"strides": [2, 2]}),
        ((6, 8, 1, 1), (0.5, 0.5), {}),
    ],
)
def test_other_convolutions_stay_behind(make_graph, operators, kernel, scales, attributes):
    nodes, weights = enlarged(BILINEAR, kernel, scales, **attributes)
    model = make_graph(nodes, (kernel[1], 4, 6), weights)
    assert operators(pointwise(model)) == ["Resize", "Conv"]
