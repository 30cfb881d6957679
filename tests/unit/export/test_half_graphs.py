"""float16 in graphs of a few nodes: what is refused, and what must not become float16."""

from collections.abc import Sequence

import numpy as np
import onnx
import pytest
from onnx import NodeProto, TensorProto, helper, numpy_helper

from gan_export.half import HalfError, half
from gan_export.tuning import open_graph

NEAR = 2e-3  # of pixels on [-1, 1], in 11 bits

node = helper.make_node
LAYER = node("Gemm", ["z", "w"], ["y"])


def graph_of(nodes: Sequence[NodeProto], weight: float = 0.1, shape: Sequence[int | str] = ("N", 4)) -> onnx.ModelProto:
    """z (N, 4) and label (N,) -> nodes, which make pixels -> the image; `w` is a weight."""
    weights = np.full((4, 4), 0.1, np.float32)
    weights[1, 2] = weight
    constants = [
        numpy_helper.from_array(weights, "w"),
        numpy_helper.from_array(np.array([0, 2, 2]), "map"),
        numpy_helper.from_array(np.float32(1), "one"),
        numpy_helper.from_array(np.float32(127.5), "scale"),
    ]
    ending = [
        node("Add", ["pixels", "one"], ["positive"]),
        node("Mul", ["positive", "scale"], ["scaled"]),
        node("Cast", ["scaled"], ["image"], to=TensorProto.UINT8),
    ]
    given = [
        helper.make_tensor_value_info("z", TensorProto.FLOAT, ["N", 4]),
        helper.make_tensor_value_info("label", TensorProto.INT64, ["N"]),
    ]
    made = [
        helper.make_tensor_value_info("image", TensorProto.UINT8, shape),
        helper.make_tensor_value_info("pixels", TensorProto.FLOAT, shape),
    ]
    graph = helper.make_graph([*nodes, *ending], "g", given, made, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def drawn(model: onnx.ModelProto) -> np.ndarray:
    z = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)
    pixels: np.ndarray = open_graph(model).run(["pixels"], {"z": z, "label": np.array([0, 2, 1])})[0]
    assert pixels.dtype == np.float32
    return pixels


def type_of(model: onnx.ModelProto, name: str) -> int:
    values = onnx.shape_inference.infer_shapes(model).graph.value_info
    return next(value.type.tensor_type.elem_type for value in values if value.name == name)


def ones(value: float) -> NodeProto:
    filling = helper.make_tensor("value", TensorProto.FLOAT, [1], [value])
    return node("ConstantOfShape", ["sizes"], ["filled"], value=filling)


def branch(name: str) -> onnx.GraphProto:
    made = helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
    return helper.make_graph([node("Tanh", ["y"], [name])], name, [], [made])


GRAPHS: dict[str, tuple[list[NodeProto], tuple[int | str, ...]]] = {
    "a type that is named": (
        [
            LAYER,
            node("Cast", ["label"], ["number"], to=TensorProto.FLOAT),
            node("Unsqueeze", ["number", "axes"], ["column"]),
            node("Add", ["y", "column"], ["sum"]),
            node("Tanh", ["sum"], ["pixels"]),
        ],
        ("N", 4),
    ),
    "a constant that is filled": (
        [
            LAYER,
            node("Shape", ["y"], ["sizes"]),
            ones(0.5),
            node("Add", ["y", "filled"], ["sum"]),
            node("Tanh", ["sum"], ["pixels"]),
        ],
        ("N", 4),
    ),
    "sizes behind the last activation": (
        [
            LAYER,
            node("Tanh", ["y"], ["t"]),
            node("Shape", ["z"], ["sizes"]),
            node("Reshape", ["t", "sizes"], ["pixels"]),
        ],
        ("N", 4),
    ),
    "a product of two activations": (
        [
            LAYER,
            node("Tanh", ["y"], ["t"]),
            node("Sigmoid", ["y"], ["s"]),
            node("Mul", ["t", "s"], ["pixels"]),
        ],
        ("N", 4),
    ),
    "no activation": ([node("Gemm", ["z", "w"], ["pixels"])], ("N", 4)),
    "no activation, moved": ([LAYER, node("Reshape", ["y", "map"], ["pixels"])], ("N", 2, 2)),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_pixels_are_near_and_the_layer_is_float16(name: str):
    nodes, shape = GRAPHS[name]
    model = graph_of(nodes, shape=shape)
    model.graph.initializer.append(numpy_helper.from_array(np.array([1]), "axes"))
    found = half(model)
    exact, near = drawn(model), drawn(found)
    assert 0 < np.abs(near - exact).max() < NEAR
    layer = next(each for each in found.graph.node if each.op_type == "Gemm")
    assert type_of(found, layer.output[0]) == TensorProto.FLOAT16


def test_a_layer_whose_numbers_are_the_pixels_is_float16_and_they_are_not():
    found = half(graph_of([node("Gemm", ["z", "w"], ["pixels"])]))
    kinds = [each.op_type for each in found.graph.node if set(each.output) & {"pixels"}]
    assert kinds == ["Cast"]


@pytest.mark.parametrize(("weight", "said"), [(65520.0, "6.55e+04"), (-65520.0, "6.55e+04"), (np.inf, "inf")])
def test_a_weight_beyond_the_largest_number_is_refused(weight: float, said: str):
    with pytest.raises(HalfError) as caught:
        half(graph_of([LAYER, node("Tanh", ["y"], ["pixels"])], weight))
    assert str(caught.value) == f"a weight of {said} is beyond float16's 65504"


def test_a_weight_that_is_no_number_is_refused():
    with pytest.raises(HalfError, match=r"^a weight of nan is beyond"):
        half(graph_of([LAYER, node("Tanh", ["y"], ["pixels"])], np.nan))


def test_the_largest_weight_is_taken():
    half(graph_of([LAYER, node("Tanh", ["y"], ["pixels"])], 65504.0))


def test_a_graph_with_a_branch_is_refused():
    model = graph_of(
        [LAYER, node("If", ["yes"], ["pixels"], then_branch=branch("a"), else_branch=branch("b"))],
    )
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "yes"))
    with pytest.raises(HalfError, match=r"^it has a branch or a loop$"):
        half(model)


def test_a_graph_that_computes_no_pixels_is_refused():
    model = graph_of([])
    model.graph.initializer.append(numpy_helper.from_array(np.zeros((1, 4), np.float32), "pixels"))
    with pytest.raises(HalfError, match=r"^nothing computes its pixels$"):
        half(model)
