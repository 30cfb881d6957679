"""int8 in a graph of a few layers: which of them may be in it, on what images that is decided, and by which limits."""

from collections.abc import Collection
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import NodeProto, TensorProto, helper, numpy_helper

from gan_export import quantize as quantizing
from gan_export.artifact import SAMPLER, LatentSpec
from gan_export.artifact.cases import SEEDS
from gan_export.int8.calibration import Ranges, Span
from gan_export.int8.comparison import Comparison, Deviation
from gan_export.int8.scheme import scheme_of
from gan_export.quantize import QuantizationError, _choice, _layers, _with_float_results, quantize
from gan_export.tuning import Feed, feed_of

DIM, CHANNELS, SIZE = 8, 6, 6
LATENT = LatentSpec(dim=DIM, distribution="normal", sampler=SAMPLER)

node = helper.make_node


def graph_of(second: NodeProto, *others: NodeProto, first: str = "Gemm") -> onnx.ModelProto:
    """z -> a map -> conv `a` -> relu -> `second`, which makes `b` -> pixels -> the image; `small` is a small layer."""
    rng = np.random.default_rng(0)
    places = CHANNELS * SIZE**2
    weights = {
        "f": rng.normal(0, 0.5, (DIM, places)),
        "wa": rng.normal(0, 0.2, (CHANNELS, CHANNELS, 3, 3)),
        "wb": rng.normal(0, 0.1, (CHANNELS, CHANNELS, 3, 3)),
        "wg": rng.normal(0, 0.1, (places, places)),
        "bias": rng.normal(0, 0.1, CHANNELS),
        "small": rng.normal(0, 0.5, (1, CHANNELS, 1, 1)),
        "one": np.array(1.0),
        "scale": np.array(127.5),
    }
    constants = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()]
    constants.append(numpy_helper.from_array(np.array([-1, CHANNELS, SIZE, SIZE]), "map"))
    constants.append(numpy_helper.from_array(np.array([-1, places]), "row"))
    nodes = [
        node(first, ["z", "f"], ["flat"]),
        node("Reshape", ["flat", "map"], ["x"]),
        conv("x", "wa", "a"),
        node("Relu", ["a"], ["r"]),
        node("Reshape", ["r", "row"], ["rows"]),
        *others,
        second,
        node("Reshape", ["b", "map"], ["maps"]),
        node("Conv", ["maps", "small"], ["last"]),
        node("Tanh", ["last"], ["pixels"]),
        node("Add", ["pixels", "one"], ["positive"]),
        node("Mul", ["positive", "scale"], ["scaled"]),
        node("Round", ["scaled"], ["rounded"]),
        node("Cast", ["rounded"], ["image"], to=TensorProto.UINT8),
    ]
    made = [
        helper.make_tensor_value_info(name, kind, ["N", 1, SIZE, SIZE])
        for name, kind in (("image", TensorProto.UINT8), ("pixels", TensorProto.FLOAT))
    ]
    given = [helper.make_tensor_value_info("z", TensorProto.FLOAT, ["N", DIM])]
    graph = helper.make_graph(nodes, "g", given, made, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def conv(given: str, weight: str, made: str, *bias: str) -> NodeProto:
    return node("Conv", [given, weight, *bias], [made], pads=[1, 1, 1, 1])


def gemm(**attributes: Any) -> NodeProto:
    return node("Gemm", ["rows", "wg"], ["b"], **attributes)


def branch(name: str) -> onnx.GraphProto:
    made = helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
    return helper.make_graph([node("Tanh", ["r"], [name])], name, [], [made])


TURNED = node("Gemm", ["columns", "wg"], ["b"], transA=1)
BRANCH = node("If", ["yes"], ["branched"], then_branch=branch("then"), else_branch=branch("else"))
PLAIN = graph_of(conv("r", "wb", "b"))


@pytest.mark.parametrize(
    ("model", "layers"),
    [
        (PLAIN, ["a", "b"]),
        (graph_of(conv("r", "wb", "b", "bias")), ["a", "b"]),
        (
            graph_of(conv("r", "wb", "b", "drawn"), node("ReduceMean", ["r"], ["drawn"], axes=[0, 2, 3], keepdims=0)),
            ["a"],
        ),
        (graph_of(gemm()), ["a", "b"]),
        (graph_of(gemm(alpha=1.0, beta=1.0, transB=1)), ["a", "b"]),
        (graph_of(gemm(alpha=0.5)), ["a"]),
        (graph_of(gemm(beta=0.5)), ["a"]),
        (graph_of(TURNED, node("Transpose", ["rows"], ["columns"], perm=[1, 0])), ["a"]),
        (graph_of(conv("x0", "wb", "b"), node("Reshape", ["z", "map0"], ["x0"])), ["a"]),
        (graph_of(conv("r", "wb", "b"), BRANCH), []),
    ],
    ids=[
        "plain",
        "bias",
        "a bias that is computed",
        "gemm",
        "said",
        "alpha",
        "beta",
        "transA",
        "of the latent",
        "a branch",
    ],
)
def test_layers_that_the_kernels_can_do_and_that_are_worth_it(model: onnx.ModelProto, layers: list[str]):
    model.graph.initializer.append(numpy_helper.from_array(np.array([-1, CHANNELS, 1, 1]), "map0"))
    assert list(_layers(model)) == layers


def test_a_layer_with_two_hundredths_of_the_work_is_large_enough(monkeypatch: pytest.MonkeyPatch):
    for work, found in ((20, ["a", "b"]), (19, ["a"])):
        monkeypatch.setattr(quantizing, "work_by_layer", lambda _, some=work: {"a": 1000 - some, "b": some})
        assert list(_layers(PLAIN)) == found


def test_the_images_are_none_of_the_certificate_s_and_are_not_looked_at_twice(monkeypatch: pytest.MonkeyPatch):
    asked = list[range]()

    def recorded(latent: LatentSpec, classes: int, batch: int, first_seed: int = 0) -> Feed:
        asked.append(range(first_seed, first_seed + batch))
        return feed_of(latent, classes, batch, first_seed)

    monkeypatch.setattr(quantizing, "feed_of", recorded)
    quantize(PLAIN, LATENT, 0)
    given, looked = asked
    assert set(given).isdisjoint(looked)
    for seed in SEEDS:
        for some in (given, looked):
            assert set(range(seed, seed + 64)).isdisjoint(some)


@pytest.mark.parametrize(("small", "portable", "asked"), [(0, False, True), (0, True, False), (10**9, False, False)])
def test_nothing_is_timed_for_other_hosts_nor_for_a_small_net(
    monkeypatch: pytest.MonkeyPatch, small: int, portable: bool, asked: bool
):
    """The same net gives the same bytes then, whatever else this host does."""
    timed = list[object]()
    monkeypatch.setattr(quantizing, "SMALL", small)
    monkeypatch.setattr(quantizing, "_faster", lambda model, *_: timed.append(model) or (model, []))
    monkeypatch.setattr(quantizing, "_with_float_results", lambda *given: timed.append(given) or ((), (), given[4][1]))
    quantize(PLAIN, LATENT, 0, portable=portable)
    assert bool(timed) == asked


def of(**changed: float) -> Deviation:
    return Deviation(**{"error": 0.0, "visible_share": 0.0, "worst": 0.0, **changed})


@pytest.mark.parametrize(
    ("within", "beyond"),
    [
        (of(error=0.0199**2), of(error=0.0201**2)),  # 40 dB of a range of 2
        (of(visible_share=0.0199), of(visible_share=0.0201)),
        (of(worst=0.199), of(worst=0.201)),
    ],
)
def test_each_limit_of_the_certificate_is_one_of_what_may_pass(within: Deviation, beyond: Deviation):
    assert within.may_pass
    assert not beyond.may_pass


@pytest.mark.parametrize(
    ("within", "beyond"),
    [
        (of(error=0.0167**2), of(error=0.0169**2)),  # 1.5 dB below 0.02
        (of(visible_share=0.0149), of(visible_share=0.0151)),
        (of(worst=0.167), of(worst=0.169)),
    ],
)
def test_with_something_to_spare_each_is_one_of_what_is_near_enough(within: Deviation, beyond: Deviation):
    assert within.distance < 1 < beyond.distance
    assert of().distance < 0.01


def test_squared_errors_and_what_is_visible_add_up():
    assert of(error=0.02**2).share == pytest.approx(2 * of(error=0.02**2 / 2).share)
    assert of(visible_share=0.015).share == pytest.approx(1, abs=1e-6)
    assert of(error=0.01**2, visible_share=0.01).share == pytest.approx(
        of(error=0.01**2).share + of(visible_share=0.01).share
    )


def test_bytes_that_are_lower_are_no_further_off_than_those_that_are_higher():
    compare = Comparison(PLAIN, {}, feed_of(LATENT, 0, 16), lambda _: None)
    for step in (0.04, -0.04):  # 5 steps of bytes
        moved = onnx.ModelProto()
        moved.CopyFrom(PLAIN)
        one = next(each for each in moved.graph.initializer if each.name == "one")
        one.CopyFrom(numpy_helper.from_array(np.float32(1 + step), "one"))
        found = compare._deviation_of(moved)
        assert found.error == found.worst == 0  # the float pixels are the same
        assert found.visible_share > 0.9
        one.CopyFrom(numpy_helper.from_array(np.float32(1 + 0.8 * step), "one"))  # 4 steps
        assert compare._deviation_of(moved).visible_share < 0.2


def test_what_may_not_pass_is_refused_with_its_figures(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Comparison, "_deviation_of", lambda *_: of(error=0.03**2, visible_share=0.5, worst=0.4))
    with pytest.raises(
        QuantizationError, match=r"PSNR 36\.5 dB, 50\.0% of uint8 pixels .*, the worst image's PSNR 14\.0"
    ):
        quantize(PLAIN, LATENT, 0)


class Seen:
    """Instead of drawing: the share of visible pixels by the ways to cut ranges and the layers in int8, else 10 %."""

    def __init__(
        self, shares: dict[tuple[str, str], float], tensors: dict[tuple[str, Span], float] | None = None
    ) -> None:
        self.shares, self.tensors, self.rounds = shares, tensors or {}, list[tuple[str, Span]]()

    def __call__(self, spans: Ranges, layers: Collection[str]) -> Deviation:
        ways = {WAYS.get(span, "mixed") for span in spans.values()}
        share = self.shares.get((ways.pop() if len(ways) == 1 else "mixed", "".join(layers)), 0.1)
        return of(visible_share=share, error=1e-9 * share)

    def rounded(self, tensor: str, span: Span) -> Deviation:
        self.rounds.append((tensor, span))
        return of(visible_share=self.tensors[tensor, span])


WIDE, NARROW = Span.of(-2, 2), Span.of(-1, 1)
WAYS = {WIDE: "wide", NARROW: "narrow"}
RANGES: dict[str, Ranges] = {"wide": {"x": WIDE}, "narrow": {"x": NARROW}}
MUCH, EQUAL = {"a": 90, "b": 10}, {"a": 10, "b": 10}  # operations of two layers


@pytest.mark.parametrize(
    ("layers", "shares", "found"),
    [
        (MUCH, {("narrow", "ab"): 0.01}, ("narrow", "ab")),
        (MUCH, {("wide", "ab"): 0.012, ("narrow", "ab"): 0.01}, ("narrow", "ab")),  # the nearer one
        # Little of the work is no reason to stop.
        (MUCH, {("wide", "ab"): 0.05, ("wide", "b"): 0.01, ("narrow", "a"): 0.01}, ("narrow", "a")),
        # Nor is much that may not pass, which beats nothing that may.
        (MUCH, {("wide", "ab"): 0.05, ("wide", "a"): 0.03, ("narrow", "b"): 0.01}, ("narrow", "b")),
        (EQUAL, {("wide", "ab"): 0.05, ("wide", "a"): 0.012, ("narrow", "a"): 0.01}, ("narrow", "a")),
        (EQUAL, {("wide", "ab"): 0.05, ("wide", "a"): 0.01, ("narrow", "a"): 0.012}, ("wide", "a")),
    ],
)
def test_that_way_is_taken_with_which_most_work_may_be_in_int8(
    layers: dict[str, int],
    shares: dict[tuple[str, str], float],
    found: tuple[str, str],
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(quantizing, "_mixed", lambda *_: {"x": Span.of(-3, 3)})  # with which nothing passes
    method, spans, kept, seen = _choice(layers, RANGES, Seen(shares))
    assert (method, "".join(kept)) == found
    assert spans == RANGES[method]
    assert seen.visible_share == shares[found]


def test_where_no_way_does_for_all_each_tensor_has_the_range_that_shows_least_alone():
    ways: dict[str, Ranges] = {"wide": {"x": WIDE, "y": WIDE}, "narrow": {"x": NARROW, "y": NARROW}}
    alone = {("x", WIDE): 0.002, ("x", NARROW): 0.004, ("y", WIDE): 0.004, ("y", NARROW): 0.002}
    seen = Seen({("narrow", "ab"): 0.0151, ("mixed", "ab"): 0.01}, alone)
    method, spans, kept, _ = _choice(MUCH, ways, seen)
    assert (method, spans, kept) == ("mixed", {"x": WIDE, "y": NARROW}, ("a", "b"))
    assert sorted(seen.rounds, key=str) == sorted(alone, key=str)
    near = Seen({("narrow", "ab"): 0.0149})
    assert _choice(MUCH, ways, near)[0] == "narrow"
    assert near.rounds == []  # one way does for all


def chosen_with_floats(
    monkeypatch: pytest.MonkeyPatch, measured: list[float], **constants: int
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Beyond `a`, where a graph is so many times as fast as the one before: all layers, and those with floats."""
    for name, value in constants.items():
        monkeypatch.setattr(quantizing, name, value)
    monkeypatch.setattr(quantizing, "speedups", lambda *_: measured)
    layers, feed = _layers(PLAIN), feed_of(LATENT, 0, 16)
    scheme = scheme_of(PLAIN, layers, feed)
    compare, spans = Comparison(PLAIN, scheme.weights, feed, lambda _: None), scheme.ranges["min-max"]
    first = (("a",), compare(spans, ["a"]))
    kept, floats, seen = _with_float_results(PLAIN, layers, spans, compare, first, [feed], print)
    assert seen == compare(spans, kept, floats)
    return kept, floats


def test_a_layer_that_is_left_may_have_results_in_floats(monkeypatch: pytest.MonkeyPatch):
    assert chosen_with_floats(monkeypatch, [1.2, 1.2]) == (("a", "b"), ("b",))


@pytest.mark.parametrize(
    ("measured", "constants"),
    [([1.03, 1.03], {}), ([1.3, 0.96], {}), ([1.2, 1.2], {"MOST_WINDOWS": 9 * SIZE**2 * CHANNELS - 1})],
    ids=["no faster", "slower one at a time", "windows that take too much"],
)
def test_where_that_does_not_pay_it_stays_in_float32(
    monkeypatch: pytest.MonkeyPatch, measured: list[float], constants: dict[str, int]
):
    assert chosen_with_floats(monkeypatch, measured, **constants) == (("a",), ())


def test_a_layer_that_can_not_be_run_so_stays_in_float32(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    write = Comparison.write

    def broken(
        self: Comparison, spans: Ranges, layers: tuple[str, ...], floats: tuple[str, ...] = ()
    ) -> onnx.ModelProto:
        model = write(self, spans, layers, floats)
        if floats:
            model.graph.node[0].op_type = "NoSuchOperator"
        return model

    monkeypatch.setattr(Comparison, "write", broken)
    assert chosen_with_floats(monkeypatch, [1.2, 1.2]) == (("a",), ())
    assert "b can't be run in int8 with float results: " in capsys.readouterr().out


def test_results_in_floats_are_not_taken_where_they_show(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Comparison, "_deviation_of", lambda *_: of(visible_share=0.016))
    assert chosen_with_floats(monkeypatch, [1.2, 1.2]) == (("a",), ())
