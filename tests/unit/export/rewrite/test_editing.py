"""What every rewrite leaves as it is: values that only a branch uses, and names that a graph has already."""

import numpy as np
import pytest
from onnx import TensorProto, helper

from gan_export.rewrite import SIMPLER, activations, channel_sums
from gan_export.rewrite.editing import Editor


def branch(name: str, kind: str, given: str):
    made = helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
    return helper.make_graph([helper.make_node(kind, [given], [name])], name, [], [made])


@pytest.mark.parametrize("rewrite", SIMPLER)
def test_what_only_a_branch_uses_is_kept(make_graph, assert_same, operators, rewrite):
    inner = branch("deep", "Neg", "h")
    nodes = [
        helper.make_node("Mul", ["x", "w"], ["h"]),
        helper.make_node("Exp", ["x"], ["nobody's"]),
        helper.make_node(
            "If",
            ["yes"],
            ["y"],
            then_branch=helper.make_graph(
                [helper.make_node("If", ["yes"], ["a"], then_branch=inner, else_branch=branch("other", "Abs", "h"))],
                "then", [], [helper.make_tensor_value_info("a", TensorProto.FLOAT, None)],
            ),
            else_branch=branch("b", "Relu", "x"),
        ),
    ]  # fmt: skip
    weights = {"w": (6,), "spare": (6,), "yes": np.array(True)}
    before = make_graph(nodes, (6,), weights)
    after = rewrite(before)
    assert operators(after) == ["Mul", "If"]
    assert sorted(tensor.name for tensor in after.graph.initializer) == ["w", "yes"]
    assert_same(before, after)


def test_names_that_a_graph_has_are_not_taken_again(make_graph, assert_same):
    """As `input.4` of torch's older exporter."""
    nodes = [
        helper.make_node("Relu", ["x"], ["input.0"]),
        helper.make_node("Tanh", ["x"], ["input.constant1"]),
        helper.make_node("Softplus", ["x"], ["input"]),
        helper.make_node("Sum", ["input", "input.0", "input.constant1"], ["y"]),
    ]
    before = make_graph(nodes, (6,), {})
    assert_same(before, activations(before))
    nodes = [
        helper.make_node("Relu", ["x"], ["mean_of_channels"]),
        helper.make_node("ReduceMean", ["x"], ["mean"], axes=[1]),
        helper.make_node("Mul", ["mean", "mean_of_channels"], ["y"]),
    ]
    before = make_graph(nodes, (3, 4, 5), {})
    assert_same(before, channel_sums(before))


@pytest.mark.parametrize(
    ("node", "moves"),
    [
        (helper.make_node("Transpose", ["x"], ["y"], perm=[0, 2, 1]), True),
        (helper.make_node("Gather", ["x", "places"], ["y"], axis=1), True),
        (helper.make_node("Gather", ["table", "given"], ["y"]), False),  # an embedding
        (helper.make_node("Pad", ["x", "pads"], ["y"]), True),
        (helper.make_node("Pad", ["x", "pads", "zero"], ["y"]), True),
        (helper.make_node("Pad", ["x", "pads", "one"], ["y"]), False),
        (helper.make_node("Pad", ["x", "pads"], ["y"], mode="reflect"), False),
        (helper.make_node("Relu", ["x"], ["y"]), False),
    ],
)
def test_moves_add_nothing_but_zeros(make_graph, node, moves):
    weights = {
        "places": np.array([1, 0]),
        "table": (6, 4),
        "pads": np.array([0, 1, 0, 0, 1, 0]),
        "zero": np.zeros((), np.float32),
        "one": np.ones((), np.float32),
    }
    nodes = [helper.make_node("Cast", ["x"], ["given"], to=TensorProto.INT64), node]
    editor = Editor(make_graph(nodes, (3, 4), weights))
    assert editor.is_move(editor.nodes[-1]) == moves
