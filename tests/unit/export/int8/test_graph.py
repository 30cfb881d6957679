"""Graphs with some layers in int8: near whatever stands between the layers, and complete."""

from collections.abc import Collection, Sequence

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import NodeProto, TensorProto, helper, numpy_helper

from gan_export.int8.calibration import calibrate
from gan_export.int8.equalization import divisors_of, sizes_of
from gan_export.int8.graph import MOST_COUNTS, tensors_of, write_int8
from gan_export.int8.weights import Rounded, round_weights

CHANNELS, SIZE, OUTPUTS = 4, 6, 3
NEAR = 0.03  # of the largest number of a layer, which has 255 steps for both signs
DIVIDED = 1.2  # times as near, as weights that take divisors in have larger steps

Feed = dict[str, np.ndarray]
node = helper.make_node


def graph_of(nodes: Sequence[NodeProto], outputs: Sequence[str]) -> onnx.ModelProto:
    """z, a map of CHANNELS x SIZE x SIZE -> x, which is not negative -> nodes. `first` and `second` are weights."""
    rng = np.random.default_rng(0)
    constants = {
        "first": rng.standard_normal((CHANNELS, CHANNELS, 3, 3)),
        "second": rng.standard_normal((OUTPUTS, CHANNELS, 3, 3)),
        "bias": rng.standard_normal(CHANNELS),
        "one": np.array(1.0),
        "six": np.array(6.0),
        "minus": np.array(-1.0),
        "enlarged": np.array([1.0, 1.0, 2.0, 2.0]),
    }
    weights = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in constants.items()]
    weights.append(numpy_helper.from_array(np.array([0, CHANNELS, SIZE, SIZE]), "map"))
    weights.append(numpy_helper.from_array(np.array([0, CHANNELS, -1]), "flat"))
    weights.append(numpy_helper.from_array(np.array([0, 0, 1, 1, 0, 0, 1, 1]), "pads"))
    weights.append(numpy_helper.from_array(np.array([0, 0, 1, 0]), "one_"))
    weights.append(numpy_helper.from_array(np.array([2**31, 2**31, 7, 2**31]), "seven"))
    given = helper.make_tensor_value_info("z", TensorProto.FLOAT, ["N", CHANNELS, SIZE, SIZE])
    made = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
    graph = helper.make_graph([node("Relu", ["z"], ["x"]), *nodes], "g", [given], made, weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def latents(seed: int) -> Feed:
    return {"z": np.random.default_rng(seed).standard_normal((32, CHANNELS, SIZE, SIZE)).astype(np.float32)}


def run(model: onnx.ModelProto, feed: Feed) -> dict[str, np.ndarray]:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [value.name for value in model.graph.output]
    return dict(zip(names, session.run(names, feed), strict=True))


def written(
    model: onnx.ModelProto,
    layers: Collection[str],
    power: float = 0.0,
    float_results: Collection[str] = (),
    only: str | None = None,
) -> onnx.ModelProto:
    """With layers in int8, for all that is seen on other images than those of the tests; `only` one tensor divided."""
    sizes = sizes_of(model, layers, latents(1)) if power else {}
    some = [found for name, found in sizes.items() if only in (None, name)]
    divisors = {name: each for found in some for name, each in divisors_of(found, power).items()}
    spans = calibrate(model, tensors_of(model, layers), latents(1), divisors)["min-max"]
    weights = round_weights(model, layers, latents(1), divisors)
    return write_int8(model, layers, spans, weights, divisors, float_results)


def conv(given: str, weight: str, made: str) -> NodeProto:
    return node("Conv", [given, weight, *(["bias"] if weight == "first" else [])], [made], pads=[1, 1, 1, 1])


def clip(low: str, high: str) -> NodeProto:
    return node("Clip", ["y", low, high], ["c"])


BETWEEN: dict[str, tuple[list[NodeProto], list[str], set[str]]] = {
    "relu": ([node("Relu", ["y"], ["c"])], ["end"], {"y", "end"}),
    "leaky": ([node("LeakyRelu", ["y"], ["c"], alpha=0.2)], ["end"], {"y", "end"}),
    "a range from zero on": (
        [node("Relu", ["y"], ["r"]), node("Clip", ["r", "", "six"], ["c"])],
        ["end"],
        {"y", "end"},
    ),
    "a range with zero": ([clip("minus", "one")], ["end"], {"y", "end"}),
    "a range above zero": ([clip("one", "six")], ["end"], {"y", "end"}),
    "no lower end": ([clip("", "minus")], ["end"], {"y", "end"}),
    "moved, and given out": (
        [node("Reshape", ["y", "flat"], ["m"]), node("Reshape", ["m", "map"], ["c"])],
        ["end", "m"],
        {"y", "end"},
    ),
    "moved, and used by another": (
        [node("Reshape", ["y", "map"], ["c"]), node("Tanh", ["c"], ["t"]), conv("t", "second", "other")],
        ["end", "other"],
        {"y", "end"},
    ),
    "added up": ([node("Add", ["y", "y"], ["c"])], ["end"], {"y", "end"}),
    "beside a constant": ([node("Mul", ["y", "six"], ["c"])], ["end"], {"y", "end"}),
    "padded": (
        [node("Pad", ["y", "pads"], ["p"]), node("Slice", ["p", "one_", "seven"], ["c"])],
        ["end"],
        {"y", "end"},
    ),
    "enlarged": ([node("Resize", ["y", "", "enlarged"], ["c"], mode="linear")], ["end"], {"y", "end"}),
    "enlarged behind a relu": (
        [node("Relu", ["y"], ["r"]), node("Resize", ["r", "", "enlarged"], ["c"], mode="linear")],
        ["end"],
        {"end"},
    ),
    "the first alone": ([node("Relu", ["y"], ["c"])], ["end"], {"y"}),
    "the second alone": ([node("Transpose", ["y"], ["c"], perm=[0, 1, 3, 2])], ["end", "y"], {"end"}),
    "given out": ([node("Relu", ["y"], ["c"])], ["end", "y", "c"], {"y", "end"}),
}


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("between", BETWEEN)
def test_what_the_graph_gives_out_is_near(between: str, power: float):
    nodes, outputs, layers = BETWEEN[between]
    model = graph_of([conv("x", "first", "y"), *nodes, conv("c", "second", "end")], outputs)
    exact, near = run(model, latents(2)), run(written(model, sorted(layers), power), latents(2))
    for name, numbers in exact.items():
        assert np.abs(near[name] - numbers).max() <= NEAR * (DIVIDED if power else 1) * np.abs(numbers).max(), name
    assert (near["end"] != exact["end"]).any()


def test_what_becomes_bytes_twice_is_divided_twice():
    """A layer's result, and what upsampling makes of it, with divisors of its own."""
    between = [node("Relu", ["y"], ["r"]), node("Resize", ["r", "", "enlarged"], ["c"], mode="cubic")]
    model = graph_of([conv("x", "first", "y"), *between, conv("c", "second", "end")], ["end"])
    for name in ("first", "bias"):  # outputs of other sizes
        weight = next(one for one in model.graph.initializer if one.name == name)
        value = numpy_helper.to_array(weight)
        sizes = np.array([9.0, 1.0, 0.3, 30.0], np.float32).reshape(-1, *[1] * (value.ndim - 1))
        weight.CopyFrom(numpy_helper.from_array(value * sizes, name))
    exact = run(model, latents(2))["end"]
    for layers in (["y", "end"], ["end", "y"]):
        off = np.abs(run(written(model, layers, 1.0), latents(2))["end"] - exact).max()
        assert off <= NEAR * DIVIDED * np.abs(exact).max()


@pytest.mark.parametrize(
    "between",
    [
        [node("LeakyRelu", ["y"], ["c"])],
        [node("Sigmoid", ["y"], ["s"]), node("Mul", ["s", "y"], ["c"])],
        [node("Add", ["y", "x"], ["c"])],
        [node("Add", ["y", "y"], ["a"]), node("Relu", ["a"], ["c"])],
        [node("AveragePool", ["y"], ["c"], kernel_shape=[2, 2])],
    ],
    ids=["leaky relu", "swish", "residual", "relu", "pool"],
)
def test_between_a_divided_tensor_and_one_that_is_not_onnx_runtime_joins_nothing(between: list[NodeProto]):
    """Its kernels for what stands between bytes know no scales by channel, and it takes them all the same."""
    model = graph_of([conv("x", "first", "y"), *between, conv("c", "second", "end")], ["end"])
    exact, near = run(model, latents(2)), run(written(model, ["y", "end"], 1.0, only="y"), latents(2))
    assert np.abs(near["end"] - exact["end"]).max() <= NEAR * DIVIDED * np.abs(exact["end"]).max()


def test_channels_of_another_size_keep_their_steps():
    """One is fifty times as large as the others, and its weights as much smaller."""
    uneven = np.array([50.0, 1.0, 1.0, 1.0], np.float32).reshape(-1, 1, 1)
    scaled = [node("Mul", ["x", "uneven"], ["u"]), conv("u", "first", "y")]
    model = graph_of(scaled, ["y"])
    model.graph.initializer.append(numpy_helper.from_array(uneven, "uneven"))
    weight = model.graph.initializer[0]
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) / uneven, "first"))
    exact = run(model, latents(2))["y"]
    off = {power: np.abs(run(written(model, ["y"], power), latents(2))["y"] - exact).max() for power in (0.0, 1.0)}
    assert off[1.0] <= NEAR * DIVIDED * np.abs(exact).max() < off[0.0] / 3


@pytest.mark.parametrize("behind", ["Relu", "Resize"])
def test_a_convolution_in_float32_divides_by_its_own_weights(behind: str):
    """Before what treats all channels alike: there ONNX Runtime joins it with the convolution."""
    inputs = ["y", "", "enlarged"] if behind == "Resize" else ["y"]
    model = graph_of([conv("x", "first", "y"), node(behind, inputs, ["c"]), conv("c", "second", "end")], ["end"])
    found = written(model, ["end"], 1.0)
    made = {each.output[0]: each for each in found.graph.node}
    divided = next(each for each in found.graph.node if each.op_type == behind and each.output[0] == "c")
    assert made[divided.input[0]].op_type == "Mul"
    assert made[divided.input[0]].input[0] == "y"


@pytest.mark.parametrize("power", [0.0, 1.0])
def test_results_that_stay_floats_are_nearer(power: float):
    model = graph_of([conv("x", "first", "y"), node("Tanh", ["y"], ["end"])], ["end", "y"])
    del model.graph.output[1]
    exact = run(model, latents(2))["end"]
    found = written(model, ["y"], power, ["y"])
    assert {each.op_type for each in found.graph.node if "Dequant" not in each.op_type} >= {"Gemm", "Gather"}
    assert "Conv" not in {each.op_type for each in found.graph.node}
    off = [np.square(run(each, latents(2))["end"] - exact).mean() for each in (found, written(model, ["y"], power))]
    assert off[0] < 0.85 * off[1]


@pytest.mark.parametrize("power", [0.0, 1.0])
@pytest.mark.parametrize("between", [name for name, (_, _, layers) in BETWEEN.items() if "y" in layers])
def test_results_that_stay_floats_are_what_the_next_layer_reads(between: str, power: float):
    """Also where it reads them as they are: the moves behind the matrix product don't lead to a tensor of their own."""
    nodes, outputs, layers = BETWEEN[between]
    model = graph_of([conv("x", "first", "y"), *nodes, conv("c", "second", "end")], outputs)
    exact, near = run(model, latents(2)), run(written(model, sorted(layers), power, ["y"]), latents(2))
    for name, numbers in exact.items():
        assert np.abs(near[name] - numbers).max() <= NEAR * (DIVIDED if power else 1) * np.abs(numbers).max(), name


def test_what_is_added_to_the_bias_is_added():
    model = graph_of([conv("x", "first", "y")], ["y"])
    spans = calibrate(model, tensors_of(model, ["y"]), latents(1))["min-max"]
    rounded = round_weights(model, ["y"], latents(1))["y"]
    shift = np.arange(CHANNELS) - 1.5
    moved = Rounded(rounded.whole, rounded.axis, rounded.scales, rounded.shift + shift)
    one, other = (run(write_int8(model, ["y"], spans, {"y": each}), latents(2))["y"] for each in (rounded, moved))
    assert (other - one).mean(axis=(0, 2, 3)) == pytest.approx(shift, abs=0.02)


@pytest.mark.parametrize("tiny", [1e-7, 1e-10])
def test_the_counts_of_a_bias_leave_room_for_the_sum(tiny: float):
    """An output whose weights are tiny beside its bias."""
    model = graph_of([conv("x", "first", "y")], ["y"])
    weight = model.graph.initializer[0]
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * np.float32(tiny), "first"))
    found = written(model, ["y"])
    counts = [one for one in found.graph.initializer if one.data_type == TensorProto.INT32 and np.prod(one.dims) > 1]
    largest = max(int(np.abs(numpy_helper.to_array(one).astype(np.int64)).max()) for one in counts)
    assert 0.4 * MOST_COUNTS <= largest <= 1.001 * MOST_COUNTS == 1.001 * 2**30
    exact, near = run(model, latents(2))["y"], run(found, latents(2))["y"]
    assert np.abs(near - exact).max() <= NEAR * np.abs(exact).max()
    tensors = {one.name: numpy_helper.to_array(one) for one in found.graph.initializer}
    whole, scales = next(
        (tensors[each.input[0]], tensors[each.input[1]][:, None, None, None])
        for each in found.graph.node
        if each.op_type == "DequantizeLinear" and np.ndim(tensors.get(each.input[0])) == 4
    )
    assert np.abs(whole * scales - numpy_helper.to_array(weight)).max() <= 1.01 * scales.max()
