"""Which forms of a layer are taken, for what was measured; and how it is measured."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from gan_export import tuning
from gan_export.artifact import SAMPLER, LatentSpec, draw
from gan_export.tuning import TURNS, RewrittenGraph, feed_of, speedups, tune

DIM = 8
LATENT = LatentSpec(dim=DIM, distribution="normal", sampler=SAMPLER)
FIRST, SECOND = "a", "b"

Measured = dict[tuple[str, str], list[float]]  # of each layer and form, how many times as fast each batch is
node = helper.make_node


def graph() -> onnx.ModelProto:
    """Two transposed convolutions behind a map of 4 x 4, the first of which is most of the work."""
    rng = np.random.default_rng(0)
    shapes = {"f.weight": (DIM, 8 * 16), "a.weight": (8, 8, 4, 4), "b.weight": (8, 1, 4, 4)}
    weights = [numpy_helper.from_array(rng.normal(0, 0.2, s).astype(np.float32), name) for name, s in shapes.items()]
    weights.append(numpy_helper.from_array(np.array([-1, 8, 4, 4]), "map"))
    weights += [numpy_helper.from_array(np.float32(value), name) for name, value in (("one", 1), ("scale", 127.5))]
    nodes = [
        node("Gemm", ["z", "f.weight"], ["flat"]),
        node("Reshape", ["flat", "map"], ["x"]),
        node("ConvTranspose", ["x", "a.weight"], ["made"], strides=[2, 2], pads=[1, 1, 1, 1]),
        node("Relu", ["made"], ["relu"]),
        node("ConvTranspose", ["relu", "b.weight"], ["last"], strides=[2, 2], pads=[1, 1, 1, 1]),
        node("Tanh", ["last"], ["pixels"]),
        node("Add", ["pixels", "one"], ["positive"]),
        node("Mul", ["positive", "scale"], ["scaled"]),
        node("Cast", ["scaled"], ["image"], to=TensorProto.UINT8),
    ]
    given = [helper.make_tensor_value_info("z", TensorProto.FLOAT, ["N", DIM])]
    made = [
        helper.make_tensor_value_info(name, kind, ["N", 1, 16, 16])
        for name, kind in (("image", TensorProto.UINT8), ("pixels", TensorProto.FLOAT))
    ]
    whole = helper.make_graph(nodes, "g", given, made, weights)
    return helper.make_model(whole, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.fixture
def tuned(monkeypatch: pytest.MonkeyPatch) -> Callable[[Measured], tuple[RewrittenGraph, list[tuple[Any, Any]]]]:
    """Tune the graph as if that had been measured, any other form being half as fast; which sessions were compared."""

    def run(measured: Measured) -> tuple[RewrittenGraph, list[tuple[Any, Any]]]:
        forms, compared = dict[int, tuple[str, str]](), list[tuple[Any, Any]]()
        real = tuning.phases

        def phases(model: onnx.ModelProto, form: str, layers: tuple[str, ...]) -> onnx.ModelProto:
            made = real(model, form, layers)
            forms[id(made)] = ({"made": FIRST, "last": SECOND}[layers[0]], form)
            kept.append(made)
            return made

        def given(first: Any, second: Any, _: object) -> list[float]:
            compared.append((first, second))
            return measured.get(forms[id(second)], [0.5, 0.5])

        kept = list[onnx.ModelProto]()  # or another one could have its id
        monkeypatch.setattr(tuning, "SMALL", 0)
        monkeypatch.setattr(tuning, "phases", phases)
        monkeypatch.setattr(tuning, "open_graph", lambda model: model)
        monkeypatch.setattr(tuning, "speedups", given)
        return tune(graph(), LATENT, 0), compared

    return run


@pytest.mark.parametrize(
    ("measured", "taken"),
    [
        ({(FIRST, "windows"): [1.05, 1.05]}, {FIRST: "windows"}),
        ({(FIRST, "windows"): [1.03, 1.03]}, {}),  # noise
        ({(FIRST, "windows"): [1.3, 0.96]}, {}),  # slower at one of the batch sizes
        ({(FIRST, "windows"): [1.3, 0.98]}, {FIRST: "windows"}),
        ({(FIRST, "windows"): [0.98, 1.0]}, {}),
        ({(FIRST, "windows"): [1.9, 0.6]}, {}),
        ({(FIRST, "windows"): [1.1, 1.1], (FIRST, "phases"): [1.2, 1.2]}, {FIRST: "phases"}),
        ({(FIRST, "windows"): [1.2, 1.2], (FIRST, "phases"): [1.1, 1.1]}, {FIRST: "windows"}),
        # The mean of rates is a geometric one: twice as fast and half as fast is as fast.
        ({(FIRST, "windows"): [1.06, 1.06], (FIRST, "phases"): [1.12, 0.99]}, {FIRST: "windows"}),
        ({(SECOND, "phases"): [1.5, 1.5], (FIRST, "phases"): [1.5, 1.5]}, {FIRST: "phases", SECOND: "phases"}),
    ],
)
def test_a_form_is_taken_where_it_pays(tuned, measured: Measured, taken: dict[str, str]):
    found, _ = tuned(measured)
    assert {each.layer: each.name for each in found.rewrites if each.layer} == taken
    for each in found.rewrites:
        if each.layer:
            assert each.speedup == pytest.approx(np.prod(measured[each.layer, each.name]) ** 0.5, abs=1e-3)


def test_a_convolution_to_an_image_is_tried_as_two(monkeypatch: pytest.MonkeyPatch):
    """Its own form, `taps`, beside which there is none."""
    model, channels = graph(), 80
    rng = np.random.default_rng(0)
    shapes = {"f.weight": (DIM, channels * 16), "last.weight": (3, channels, 3, 3)}
    del model.graph.initializer[:3], model.graph.node[2:5]
    for name, shape in shapes.items():
        model.graph.initializer.append(numpy_helper.from_array(rng.normal(0, 0.02, shape).astype(np.float32), name))
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.array([-1, channels, 4, 4]), "map"))
    model.graph.node.insert(2, node("Conv", ["x", "last.weight"], ["last"], pads=[1, 1, 1, 1]))
    for made in model.graph.output:
        for dim, size in zip(made.type.tensor_type.shape.dim[1:], (3, 4, 4), strict=True):
            dim.dim_value = size
    monkeypatch.setattr(tuning, "SMALL", 0)
    monkeypatch.setattr(tuning, "speedups", lambda *_: [1.1, 1.1])
    found = tune(model, LATENT, 0)
    assert [(each.layer, each.name) for each in found.rewrites if each.layer] == [("last", "taps")]
    assert [each.op_type for each in found.model.graph.node].count("Conv") == 2
    for_gpu = tune(model, LATENT, 0, for_gpu=True)  # it makes up for how the processor's kernels work
    assert [each.layer for each in for_gpu.rewrites if each.layer] == []


def test_what_is_tried_next_is_compared_with_what_was_taken(tuned):
    found, compared = tuned({(FIRST, "phases"): [1.5, 1.5]})
    assert len({id(second) for _, second in compared}) == len(compared) == 4
    before = compared[0][0]
    assert [first is before for first, _ in compared] == [True, True, False, False]
    assert compared[2][0] is compared[3][0] is found.model


def test_a_small_graph_is_left_alone():
    told: list[str] = []
    assert [each.layer for each in tune(graph(), LATENT, 0, told.append).rewrites if each.layer] == []
    assert told == []


class Clocked:
    """A session whose runs take some seconds of a clock: the next of a list, over and over."""

    def __init__(self, clock: list[float], seconds: Sequence[float]) -> None:
        self.clock, self.seconds, self.runs = clock, seconds, 0

    def run(self, *_: object) -> None:
        self.clock[0] += self.seconds[self.runs % len(self.seconds)]
        self.runs += 1


@pytest.mark.parametrize(
    ("first", "second", "ratio"),
    [
        ([1.0], [0.5], 2.0),
        ([0.5], [1.0], 0.5),
        ([1.0, 3.0, 1.0, 1.0, 2.0], [1.0, 0.5], 2.0),  # a turn can only be longer than it should
        ([0.0015], [0.00015], 10.0),  # of which as many make a turn as fill it
    ],
)
def test_the_best_turn_of_each_counts(
    first: list[float], second: list[float], ratio: float, monkeypatch: pytest.MonkeyPatch
):
    clock = [0.0]
    monkeypatch.setattr(tuning.time, "perf_counter", lambda: clock[0])
    one, other = Clocked(clock, first), Clocked(clock, second)
    assert speedups(one, other, [{}]) == [pytest.approx(ratio)]
    if first == [0.0015]:
        assert (one.runs, other.runs) == (2 + 3 * TURNS, 2 + 27 * TURNS)  # 4 ms each, and two runs before


def test_inputs_are_those_of_seeds_in_a_row_and_labels_in_turn():
    feed = feed_of(LATENT, 3, 5, first_seed=40)
    assert np.array_equal(feed["z"], draw(range(40, 45), DIM, "normal").latents)
    assert feed["label"].tolist() == [0, 1, 2, 0, 1]
    assert "label" not in feed_of(LATENT, 0, 2)
