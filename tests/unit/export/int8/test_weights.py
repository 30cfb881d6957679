"""Weights of layers in int8: what a layer makes on other images is nearer than with each weight to its nearest."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import ModelProto as Model
from onnx import TensorProto, helper, numpy_helper

from gan_export.artifact import load_artifact
from gan_export.int8.calibration import Span
from gan_export.int8.gptq import MOST
from gan_export.int8.graph import write_int8
from gan_export.int8.weights import Rounded, _Layer, _Moments, round_weights
from gan_export.onnx_graph import attributes_of
from gan_export.rewrite import phases
from gan_export.rewrite.editing import Editor
from gan_export.tuning import Feed, feed_of

DIM = 16
CHANNELS, SIZE = 8, 6
ZOO = Path(__file__).parents[4] / "zoo"
GAIN = 0.9  # of the mean square error, what is left at most
MEAN = 100_000.0  # of a layer's inputs, whose standard deviation is about 4
GAIN_TRAINED = 0.8  # the same, in a trained net

SHAPES: dict[str, tuple[str, tuple[int, ...], dict[str, object]]] = {
    "conv": ("Conv", (12, CHANNELS, 3, 3), {"pads": [1, 1, 1, 1]}),
    "strides, gaps": (
        "Conv",
        (12, CHANNELS, 3, 2),
        {"strides": [2, 1], "dilations": [1, 3], "pads": [0, 1, 2, 3]},
    ),
    "defaults": ("Conv", (12, CHANNELS, 2, 2), {}),
    "valid": ("Conv", (12, CHANNELS, 2, 2), {"auto_pad": "VALID"}),
    "groups": ("Conv", (12, CHANNELS // 2, 3, 3), {"pads": [1, 1, 1, 1], "group": 2}),
    "depthwise": ("Conv", (2 * CHANNELS, 1, 3, 3), {"pads": [1, 1, 1, 1], "group": CHANNELS}),
    "gemm": ("Gemm", (CHANNELS * SIZE**2, 20), {}),
    "gemm, transposed": ("Gemm", (20, CHANNELS * SIZE**2), {"transB": 1}),
}


def graph_of(
    kind: str, shape: tuple[int, ...], attributes: dict[str, object], dead: Sequence[int] = ()
) -> onnx.ModelProto:
    """z -> a map of CHANNELS x SIZE x SIZE that is correlated and not negative -> the layer `y`, and `y2` like it."""
    rng = np.random.default_rng(5)
    bias = rng.normal(0, 1, (CHANNELS, SIZE**2))
    bias[list(dead)] = -1000
    outputs = shape[0] if kind == "Conv" or attributes.get("transB") else shape[1]
    weights = {
        "first": rng.standard_normal((DIM, CHANNELS * SIZE**2)),
        "first_bias": bias.reshape(-1),
        "w": rng.standard_normal(shape),
        "b": rng.standard_normal(outputs),
        "w2": rng.standard_normal(shape),
    }
    constants = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()]
    constants.append(numpy_helper.from_array(np.array([-1, CHANNELS, SIZE, SIZE]), "map"))
    inputs = "relu" if kind == "Gemm" else "x"
    nodes = [
        helper.make_node("Gemm", ["z", "first", "first_bias"], ["flat"]),
        helper.make_node("Relu", ["flat"], ["relu"]),
        helper.make_node("Reshape", ["relu", "map"], ["x"]),
        helper.make_node(kind, [inputs, "w", "b"], ["y"], **attributes),
        helper.make_node(kind, [inputs, "w2"], ["y2"], **attributes),
    ]
    given = [helper.make_tensor_value_info("z", TensorProto.FLOAT, ["N", DIM])]
    made = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("y", "y2")]
    graph = helper.make_graph(nodes, "g", given, made, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def latents(seed: int, count: int = 96) -> Feed:
    return {"z": np.random.default_rng(seed).standard_normal((count, DIM)).astype(np.float32)}


def errors_of(model: Model, rounded: dict[str, Rounded], feed: Feed) -> dict[str, float]:
    """Mean square error of what each layer makes of its inputs in float32, with its rounded weights."""
    return {layer: float(np.square(error).mean()) for layer, error in layer_errors(model, rounded, feed).items()}


def layer_errors(model: Model, rounded: dict[str, Rounded], feed: Feed) -> dict[str, np.ndarray]:
    """By how much each of a layer's numbers is off with its rounded weights."""
    editor, found = Editor(model), dict[str, np.ndarray]()
    for layer, weights in rounded.items():
        node = editor.producer(layer)
        shape = [-1 if i == weights.axis else 1 for i in range(weights.whole.ndim)]
        weight = weights.whole * weights.scales.reshape(shape) - editor.constant(node.input[1])
        feed_in = helper.make_tensor_value_info(node.input[0], TensorProto.FLOAT, None)
        difference = helper.make_node(node.op_type, [node.input[0], "w", "b"], ["y"], **attributes_of(node))
        constants = [numpy_helper.from_array(weight.astype(np.float32), "w")]
        constants.append(numpy_helper.from_array(weights.shift.astype(np.float32), "b"))
        made = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
        graph = helper.make_graph([difference], "g", [feed_in], [made], constants)
        alone = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        (y,) = run(alone, {node.input[0]: values_of_one(model, node.input[0], feed)}, ["y"])
        found[layer] = y
    return found


def values_of_one(model: Model, name: str, feed: Feed) -> np.ndarray:
    watched = Model()
    watched.CopyFrom(model)
    watched.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    return run(watched, feed, [name])[0]


def run(model: Model, feed: Feed, names: list[str]) -> list[np.ndarray]:
    return ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(names, feed)


def to_the_nearest(model: Model, layers: Sequence[str], monkeypatch: pytest.MonkeyPatch) -> dict[str, Rounded]:
    with monkeypatch.context() as patch:
        patch.setattr("gan_export.int8.weights.LARGEST", 0)
        return round_weights(model, layers, {})


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dead", [(), (0, 3, 5)], ids=["", "dead channels"])
def test_what_a_layer_makes_is_nearer(shape: str, dead: Sequence[int], monkeypatch: pytest.MonkeyPatch):
    model = graph_of(*SHAPES[shape], dead=dead)
    rounded, plain = round_weights(model, ["y", "y2"], latents(1)), to_the_nearest(model, ["y", "y2"], monkeypatch)
    ours, theirs = (errors_of(model, each, latents(2)) for each in (rounded, plain))
    for layer, weights in rounded.items():
        assert weights.whole.dtype == np.int8
        assert weights.whole.min() >= -MOST
        assert np.array_equal(weights.scales, plain[layer].scales)
        assert ours[layer] < GAIN * theirs[layer]


def test_what_all_layers_of_a_trained_net_make_is_nearer(monkeypatch: pytest.MonkeyPatch):
    artifact = load_artifact(ZOO / "mnist-dcgan")
    model = phases(phases(onnx.load(artifact.path_of(artifact.variant())), "windows"), "phases")
    products = (node for node in model.graph.node if node.op_type in ("Conv", "Gemm"))
    layers = [node.output[0] for node in products if node.input[0] != "z"]  # numbers of a latent are not correlated
    given, looked = (feed_of(artifact.manifest.latent, 0, 64, first_seed=seed) for seed in (0, 1000))
    rounded, plain = round_weights(model, layers, given), to_the_nearest(model, layers, monkeypatch)
    ours, theirs = (errors_of(model, each, looked) for each in (rounded, plain))
    assert len(layers) >= 4
    for layer in layers:
        assert ours[layer] < GAIN_TRAINED * theirs[layer], layer


def test_a_layer_is_rounded_alike_whatever_is_rounded_with_it(monkeypatch: pytest.MonkeyPatch):
    model = graph_of(*SHAPES["conv"])
    together, alone = round_weights(model, ["y", "y2"], latents(1)), round_weights(model, ["y2"], latents(1))
    monkeypatch.setattr("gan_export.int8.weights.MEMORY", 1)
    one_by_one = round_weights(model, ["y", "y2"], latents(1))
    for other in (alone, one_by_one):
        assert np.array_equal(other["y2"].whole, together["y2"].whole)
        assert np.array_equal(other["y2"].shift, together["y2"].shift)


@pytest.mark.parametrize("reason", ["too many inputs", "padding is not written out", "nothing but zeros"])
def test_each_weight_goes_to_its_nearest_where(reason: str, monkeypatch: pytest.MonkeyPatch):
    kind, shape, attributes = SHAPES["conv"]
    if reason == "too many inputs":
        monkeypatch.setattr("gan_export.int8.weights.LARGEST", np.prod(shape[1:]) - 1)
    if reason == "padding is not written out":
        attributes = {"auto_pad": "SAME_UPPER"}
    model = graph_of(kind, shape, attributes, dead=range(CHANNELS) if reason == "nothing but zeros" else ())
    found = round_weights(model, ["y"], latents(1))["y"]
    weight = Editor(model).constant("w")
    scales = np.abs(weight).max(axis=(1, 2, 3)) / np.float32(127)
    assert np.allclose(found.scales, scales, rtol=1e-6)
    assert np.abs(found.whole - weight / scales[:, None, None, None]).max() <= 0.5001
    assert not found.shift.any()


def test_a_layer_with_as_many_inputs_as_may_be_is_looked_at(monkeypatch: pytest.MonkeyPatch):
    kind, shape, attributes = SHAPES["conv"]
    monkeypatch.setattr("gan_export.int8.weights.LARGEST", np.prod(shape[1:]))
    assert round_weights(graph_of(kind, shape, attributes), ["y"], latents(1))["y"].shift.any()


@pytest.mark.parametrize("shape", SHAPES)
def test_the_memory_that_passes_are_shared_out_by_is_what_the_moments_take(shape: str):
    layer = _Layer(Editor(graph_of(*SHAPES[shape])), "y", {})
    assert layer.memory == _Moments(layer)._products.nbytes


@pytest.mark.parametrize("shape", SHAPES)
def test_the_mean_of_the_error_is_taken_out_of_each_output(shape: str, monkeypatch: pytest.MonkeyPatch):
    """All of it, on the images that were looked at, where all of their places were."""
    monkeypatch.setattr("gan_export.int8.weights.PLACES", SIZE**2 + 40)
    model, feed = graph_of(*SHAPES[shape]), latents(1)
    rounded = round_weights(model, ["y"], feed)
    (error,) = layer_errors(model, rounded, feed).values()
    mean = error.mean(axis=tuple(i for i in range(error.ndim) if i != 1))
    assert np.abs(mean).max() < 1e-3 * np.abs(error).max()
    assert np.abs(mean - rounded["y"].shift).max() > 0.02 * np.abs(error).max()  # it was there


def test_the_order_of_the_images_does_not_matter():
    """The first few, about whose mean sums are taken, may be unlike the others."""
    model, feed = graph_of(*SHAPES["gemm"]), latents(1)
    feed["z"][:8] = -10 * np.abs(feed["z"][:8])
    one, other = (round_weights(model, ["y"], {"z": z})["y"] for z in (feed["z"], feed["z"][::-1].copy()))
    assert (one.whole != other.whole).mean() < 1e-3
    assert np.abs(one.shift - other.shift).max() < 1e-3 * np.abs(one.shift).max()


@pytest.mark.parametrize("shape", ["conv", "gemm", "gemm, transposed"])
def test_inputs_of_a_large_mean_are_no_worse_than_others(shape: str, monkeypatch: pytest.MonkeyPatch):
    model = graph_of(*SHAPES[shape])
    bias = next(one for one in model.graph.initializer if one.name == "first_bias")
    bias.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(bias) + np.float32(MEAN), "first_bias"))
    found, plain = round_weights(model, ["y"], latents(1)), to_the_nearest(model, ["y"], monkeypatch)
    ours, theirs = (layer_errors(model, each, latents(2))["y"] for each in (found, plain))
    each = tuple(i for i in range(ours.ndim) if i != 1)
    assert ours.var(axis=each).mean() < GAIN * theirs.var(axis=each).mean()  # beside the mean, which is taken out
    assert np.abs(ours.mean(axis=each)).max() < 1e-3 * np.abs(theirs.mean(axis=each)).max()


@pytest.mark.parametrize("tiny", [0.0, 1e-12, 1e-8])
@pytest.mark.parametrize("shape", ["conv", "groups", "gemm", "gemm, transposed"])
def test_the_bias_of_an_output_with_tiny_weights_is_kept(shape: str, tiny: float):
    kind, dims, attributes = SHAPES[shape]
    model = graph_of(kind, dims, attributes)
    weight, bias = (next(one for one in model.graph.initializer if one.name == name) for name in ("w", "b"))
    values = numpy_helper.to_array(weight).copy()
    (values.T if kind == "Gemm" and not attributes else values)[:3] *= tiny
    weight.CopyFrom(numpy_helper.from_array(values, "w"))
    bias.CopyFrom(numpy_helper.from_array(np.full(numpy_helper.to_array(bias).shape, 7.0, np.float32), "b"))
    watched = Model()
    watched.CopyFrom(model)
    watched.graph.output.append(helper.make_tensor_value_info("x", TensorProto.FLOAT, None))
    y, x = run(watched, latents(1), ["y", "x"])
    spans = {"relu": Span.of(0.0, float(x.max())), "y": Span.of(float(y.min()), float(y.max()))}
    found = write_int8(model, ["y"], spans, round_weights(model, ["y"], latents(1)))
    (exact,), (near,) = run(model, latents(3), ["y"]), run(found, latents(3), ["y"])
    step = spans["y"].scale
    assert np.abs(near - exact)[:, :3].max() < 2 * step
