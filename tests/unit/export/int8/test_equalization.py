"""Which channels are divided together, by what, and where a tensor is left as it is."""

from collections.abc import Sequence

import numpy as np
import onnx
import pytest
from onnx import NodeProto, TensorProto, helper, numpy_helper

from gan_export.int8.equalization import LEAST, divisors_of, sizes_of

CHANNELS, SIZE = 4, 4
SCALES = np.array([1.0, 10.0, 0.1, 3.0])  # of the channels of x

node = helper.make_node


def graph_of(nodes: Sequence[NodeProto], outputs: Sequence[str] = ("y",)) -> onnx.ModelProto:
    """z, maps -> x, the same with channels of SCALES and nothing below zero -> nodes."""
    rng = np.random.default_rng(0)
    floats = {
        "scales": SCALES.reshape(-1, 1, 1),
        "conv": rng.standard_normal((3, CHANNELS, 3, 3)),
        "thin": rng.standard_normal((3, 1, 3, 3)),
        "gemm": rng.standard_normal((CHANNELS * SIZE**2, 3)),
        "rows": rng.standard_normal((CHANNELS, 3)),
        "wide": rng.standard_normal((CHANNELS * SIZE * (SIZE + 1), 3)),
        "six": np.array(6.0),
    }
    whole = {
        "flat": [0, CHANNELS * SIZE**2],
        "row": [-1, CHANNELS],
        "twice": [0, CHANNELS // 2, 2, SIZE, SIZE],
        "half": [0, CHANNELS // 2, 2 * SIZE, SIZE],
        "pads": [0, 0, 1, 1, 0, 0, 1, 1],
        "turned": [3, 2, 1, 0],
        "one more": [0, 0, 0, 0, 0, 0, 0, 1],
        "wide and flat": [0, CHANNELS * SIZE * (SIZE + 1)],
        "two": [2],
        "zero": [0],
    }
    constants = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in floats.items()]
    constants += [numpy_helper.from_array(np.array(value), name) for name, value in whole.items()]
    given = helper.make_tensor_value_info("z", TensorProto.FLOAT, ["N", CHANNELS, SIZE, SIZE])
    made = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
    first = [node("Relu", ["z"], ["positive"]), node("Mul", ["positive", "scales"], ["x"])]
    graph = helper.make_graph([*first, *nodes], "g", [given], made, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def sizes(nodes: Sequence[NodeProto], outputs: Sequence[str] = ("y",), layers: Sequence[str] = ("y",)):
    z = np.random.default_rng(1).standard_normal((512, CHANNELS, SIZE, SIZE)).astype(np.float32)
    return sizes_of(graph_of(nodes, outputs), layers, {"z": z})


def conv(given: str, made: str = "y", weight: str = "conv") -> NodeProto:
    return node("Conv", [given, weight], [made], pads=[1, 1, 1, 1])


WHOLE = SCALES * np.sqrt(0.5)  # half of the numbers are zero
MOVES = {  # nodes, and the sizes of the channels of what the layer is given
    "as it is": ([conv("x")], WHOLE),
    "padded": ([node("Pad", ["x", "pads"], ["m"]), node("Conv", ["m", "conv"], ["y"])], WHOLE),
    "gathered": ([node("Gather", ["x", "turned"], ["m"], axis=1), conv("m")], WHOLE[::-1]),
    "in a row": ([node("Reshape", ["x", "flat"], ["m"]), node("Gemm", ["m", "gemm"], ["y"])], WHOLE.repeat(SIZE**2)),
    "a place a row": (
        [
            node("Transpose", ["x"], ["last"], perm=[0, 2, 3, 1]),
            node("Reshape", ["last", "row"], ["m"]),
            node("Gemm", ["m", "rows"], ["y"]),
        ],
        WHOLE,
    ),
}


@pytest.mark.parametrize("name", MOVES)
def test_a_channel_has_the_size_that_it_has_wherever_it_is_moved(name: str):
    nodes, wanted = MOVES[name]
    found = sizes(nodes)["x"]
    assert next(iter(found)) == "x"
    assert found["x"] == pytest.approx(WHOLE, rel=0.05)
    assert list(found.values())[-1] == pytest.approx(wanted, rel=0.05)


def test_channels_that_come_together_in_one_share_their_size():
    """As the phases of a transposed convolution do."""
    model = [node("DepthToSpace", ["x"], ["m"], blocksize=2), node("Conv", ["m", "thin"], ["y"])]
    found = sizes(model)["x"]
    together = np.sqrt((WHOLE**2).mean())
    assert found["x"] == pytest.approx(np.full(CHANNELS, together), rel=0.05)
    assert found["m"] == pytest.approx([together], rel=0.05)


def test_a_channel_of_nothing_but_padding_has_no_size():
    """As the features of a padded map have, of which a matrix product is taken."""
    flat = [node("Pad", ["x", "one more"], ["p"]), node("Reshape", ["p", "wide and flat"], ["m"])]
    found = sizes([*flat, node("Gemm", ["m", "wide"], ["y"])])["x"]
    assert found["x"] == pytest.approx(WHOLE, rel=0.05)
    padded = np.pad(np.repeat(WHOLE, SIZE**2).reshape(-1, SIZE), ((0, 0), (0, 1)))
    assert found["m"] == pytest.approx(padded.reshape(-1), rel=0.05)


def test_a_layer_that_mixes_all_has_the_others_share_theirs():
    one_by_one = node("Reshape", ["x", "flat"], ["m"])
    mixed = [node("DepthToSpace", ["x"], ["d"], blocksize=2), node("Conv", ["d", "thin"], ["y"])]
    found = sizes([one_by_one, node("Gemm", ["m", "gemm"], ["other"]), *mixed], ("y", "other"), ("y", "other"))["x"]
    assert np.ptp(found["m"]) < 1e-6 * found["m"].max()


def test_a_sum_may_read_what_is_divided():
    """As the one at the end of a residual block does."""
    assert set(sizes([conv("x", "c"), node("Add", ["c", "c"], ["y"])], layers=("c",))) == {"x", "c"}


@pytest.mark.parametrize(
    ("nodes", "outputs", "left"),
    [
        ([conv("x")], ("y", "x"), "x"),  # the graph gives it out
        ([node("Clip", ["x", "", "six"], ["c"]), conv("c")], ("y",), "c"),
        ([conv("x", "c"), node("Tanh", ["c"], ["y"])], ("y",), "c"),
        ([conv("x", "c"), node("LeakyRelu", ["c"], ["y"])], ("y",), "c"),  # computed in bytes, by a table
        ([conv("x"), node("Neg", ["x"], ["n"])], ("y", "n"), "x"),
        ([conv("x", "c"), node("Clip", ["c", "", "six"], ["y"])], ("y",), "y"),
        ([node("Reshape", ["x", "flat"], ["m"]), node("Gemm", ["m", "gemm"], ["y"])], ("y", "m"), "x"),
        (
            [node("Pad", ["x", "pads"], ["m"]), node("Conv", ["m", "conv"], ["y"]), node("Neg", ["m"], ["n"])],
            ("y", "n"),
            "x",  # what is moved is used by another, too
        ),
        (
            [
                node("Shape", ["x"], ["sizes"]),
                node("Gather", ["sizes", "two"], ["high"]),
                node("Slice", ["x", "zero", "high", "two"], ["m"]),
                conv("m"),
            ],
            ("y",),
            "x",  # where it is moved is computed
        ),
    ],
)
def test_tensors_that_can_t_be_divided_are_left(nodes: list[NodeProto], outputs: Sequence[str], left: str):
    layers = [each.output[0] for each in nodes if each.op_type in ("Conv", "Gemm")]
    assert left not in sizes(nodes, outputs, layers)


def test_divisors_are_the_sizes_in_parts_of_their_geometric_mean():
    found = divisors_of({"x": np.array([1.0, 4.0]), "m": np.array([4.0, 4.0, 1.0])}, 1.0)
    assert found["x"] == pytest.approx([0.5, 2])
    assert found["m"] == pytest.approx([2, 2, 0.5])
    assert found["x"].dtype == np.float32
    halfway = divisors_of({"x": np.array([1.0, 4.0])}, 0.5)["x"]
    assert halfway == pytest.approx([np.sqrt(0.5), np.sqrt(2)])


def test_channels_of_nothing_are_not_divided_by_nothing():
    assert divisors_of({"x": np.zeros(3)}, 1.0)["x"] == pytest.approx(np.ones(3))
    found = divisors_of({"x": np.array([0.0, 1.0])}, 1.0)["x"]
    assert found[1] / found[0] == pytest.approx(1 / LEAST)
