"""Ranges of activations: what follows a tensor decides which of its values count."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from gan_export.int8.calibration import (
    FUNCTIONS,
    METHODS,
    NO_FUNCTION,
    SCALES,
    Span,
    calibrate,
    function_behind,
    values_of,
)
from gan_export.rewrite.editing import Editor
from gan_export.tuning import Feed

WIDTH = 24
SPREAD = 40.0  # standard deviation of what the layer makes
ALMOST = 0.05  # of a step of uint8 pixels, which are 2 / 255


def graph_of(*nodes: tuple[str, str, str], outputs: tuple[str, ...] = ("image",)) -> onnx.ModelProto:
    """z -> the layer `y` -> nodes, each as operator, input and output; `image` is the last one's."""
    weight = np.eye(WIDTH, dtype=np.float32) * SPREAD
    made = [helper.make_node("Gemm", ["z", "w"], ["y"])]
    for kind, given, name in nodes:
        moved = {"Reshape": [given, "map"], "Transpose": [given]}.get(kind, [given])
        made.append(helper.make_node(kind, moved, [name], **({"perm": [0, 2, 1]} if kind == "Transpose" else {})))
    constants = [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(np.array([0, 4, -1]), "map")]
    given_in = [helper.make_tensor_value_info("z", TensorProto.FLOAT, ["N", WIDTH])]
    given_out = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
    graph = helper.make_graph(made, "g", given_in, given_out, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def latents(seed: int = 0, count: int = 256) -> Feed:
    return {"z": np.random.default_rng(seed).standard_normal((count, WIDTH)).astype(np.float32)}


def rounded(values: np.ndarray, span: Span) -> np.ndarray:
    whole = np.clip(np.rint(values / span.scale) + span.zero_point, 0, 255)
    return (whole - span.zero_point) * span.scale


MOVED = (("Reshape", "y", "moved"), ("Transpose", "moved", "turned"))


@pytest.mark.parametrize("kind", ["Relu", "Tanh", "Sigmoid"])
@pytest.mark.parametrize("moves", [(), MOVED], ids=["at once", "moved before"])
def test_the_function_behind_a_tensor_is_found(kind: str, moves: tuple[tuple[str, str, str], ...]):
    model = graph_of(*moves, (kind, moves[-1][2] if moves else "y", "image"))
    assert function_behind(Editor(model), "y") is FUNCTIONS[kind]


@pytest.mark.parametrize(
    "model",
    [
        graph_of(("Relu", "y", "a"), ("Tanh", "y", "image"), outputs=("a", "image")),
        graph_of(("Relu", "y", "a"), *MOVED, ("Tanh", "turned", "image"), outputs=("a", "image")),
        graph_of(("Tanh", "y", "image"), outputs=("y", "image")),
        graph_of(("Reshape", "y", "moved"), ("Tanh", "moved", "image"), outputs=("moved", "image")),
        graph_of(("Softplus", "y", "image")),
        graph_of(("Relu", "y", "a"), ("Softplus", "y", "image"), outputs=("a", "image")),
    ],
    ids=["two functions", "two, one behind moves", "given out", "given out, moved", "another one", "and another one"],
)
def test_every_value_counts_where_not_one_function_has_them_all(model: onnx.ModelProto):
    assert function_behind(Editor(model), "y") is NO_FUNCTION


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", ["Tanh", "Sigmoid"])
def test_before_a_function_that_saturates_no_byte_is_spent_where_it_is_flat(kind: str, method: str):
    """Values up to 150 would have steps of 1; what decides about pixels is one unit wide."""
    span = calibrate(graph_of((kind, "y", "image")), ["y"], latents())[method]["y"]
    assert span.scale <= 2 * FUNCTIONS[kind].high / 255 * 1.001
    values = np.linspace(-150, 150, 20_001)
    function = FUNCTIONS[kind].of
    error = np.abs(function(rounded(values, span)) - function(values)).max()
    steepest = FUNCTIONS[kind].slope(np.zeros(1))[0]
    assert error <= 1.01 * steepest * span.scale / 2 + 0.02


@pytest.mark.parametrize("kind", ["Tanh", "Sigmoid"])
def test_beyond_its_limits_a_function_is_flat(kind: str):
    function = FUNCTIONS[kind]
    low, high = function.of(np.array([function.low, function.high]))
    bottom, top = function.of(np.array([-1000.0, 1000.0]))
    pixels = 255 / (top - bottom)  # steps of uint8 pixels over all it makes
    assert (low - bottom) * pixels < ALMOST
    assert (top - high) * pixels < ALMOST


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("moves", [(), MOVED], ids=["at once", "moved before"])
def test_before_relu_all_bytes_are_for_what_it_lets_through(moves: tuple[tuple[str, str, str], ...], method: str):
    model = graph_of(*moves, ("Relu", moves[-1][2] if moves else "y", "image"))
    span = calibrate(model, ["y"], latents())[method]["y"]
    assert span.zero_point == 0
    values = latents(1)["z"] * SPREAD
    within = values[values < 255 * span.scale]
    assert np.abs(rounded(within, span) - np.maximum(within, 0)).max() <= 0.501 * span.scale


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("low", "high"), [(0.0, 6.0), (-1.0, 1.0)])
def test_before_a_ceiling_no_byte_is_spent_beyond_it(low: float, high: float, method: str):
    model = graph_of(("Clip", "y", "image"))
    model.graph.node[-1].input.extend(["low", "high"])
    bounds = {"low": low, "high": high}
    model.graph.initializer.extend(numpy_helper.from_array(np.float32(bound), name) for name, bound in bounds.items())
    span = calibrate(model, ["y"], latents())[method]["y"]
    values = np.linspace(-150, 150, 20_001)
    assert (span.zero_point == 0) == (low == 0)
    assert 0.9 * (high - low) / 255 < span.scale <= 1.001 * (high - low) / 255
    assert np.abs(rounded(values, span) - np.clip(values, low, high)).max() <= 1.6 * span.scale + 0.1 * (high - low)


def test_a_ceiling_that_the_graph_computes_is_not_known():
    model = graph_of(("Abs", "y", "far"), ("Clip", "y", "image"))
    model.graph.node[-1].input.extend(["", "far"])
    assert function_behind(Editor(model), "y") is NO_FUNCTION


@pytest.mark.parametrize("method", METHODS)
def test_without_a_function_behind_it_both_sides_have_bytes(method: str):
    span = calibrate(graph_of(("Softplus", "y", "image")), ["y"], latents())[method]["y"]
    assert 100 < span.zero_point < 155
    assert 255 * span.scale > 3 * SPREAD


def test_percentiles_cut_off_more_and_more():
    found = calibrate(graph_of(("Softplus", "y", "image")), ["y"], latents(count=2000))
    values = np.abs(latents(count=2000)["z"]) * SPREAD
    cuts = [
        (values > 127.5 * found[name]["y"].scale).mean()
        for name in ("min-max", "99.99 percentile", "99.97 percentile", "99.9 percentile")
    ]
    assert cuts[0] < 5e-5  # the largest of one sign, where the steps end between it and the smallest
    assert cuts == sorted(cuts)
    assert cuts[-1] == pytest.approx(1e-3, rel=0.2)


@pytest.mark.parametrize(("low", "high"), [(2.0, 5.0), (-5.0, -2.0), (-1.0, 1.0), (-0.3, 0.7), (0.0, 0.0)])
def test_bytes_hold_zero_and_both_ends_of_a_range(low: float, high: float):
    span = Span.of(low, high)
    ends = np.array([min(low, 0.0), 0.0, max(high, 0.0)])
    assert rounded(ends, span)[1] == 0
    assert np.abs(rounded(ends, span) - ends).max() <= 0.501 * span.scale
    assert 255 * span.scale == pytest.approx(max(ends[2] - ends[0], 1e-9))


@pytest.mark.parametrize("kind", ["Softplus", "Tanh"])
@pytest.mark.parametrize("spread", [0.02, 1.0])
def test_the_smallest_square_error_is_that_of_the_values_themselves(kind: str, spread: float):
    """Of values of which a few are far from the others, before something flat and before nothing."""
    model = graph_of((kind, "y", "image"))
    feed = latents(count=2000)
    feed["z"] = (np.sign(feed["z"]) * np.abs(feed["z"]) ** 3 * spread / SPREAD).astype(np.float32)
    values = feed["z"].astype(np.float64) * SPREAD
    function = FUNCTIONS.get(kind, NO_FUNCTION)
    cut = np.clip(values, function.low, function.high)

    def error(span: Span) -> float:
        return float(np.square(function.of(rounded(cut, span)) - function.of(cut)).mean())

    found = error(calibrate(model, ["y"], feed)["squared error"]["y"])
    assert found <= 1.02 * min(error(Span.of(cut.min() * scale, cut.max() * scale)) for scale in SCALES)


def test_what_the_graph_gives_out_can_be_looked_at_too():
    model = graph_of(("Tanh", "y", "image"))
    (values,) = list(values_of(model, ["image", "y"], latents(count=3)))
    assert np.allclose(np.tanh(values["y"]), values["image"], atol=1e-6)
