"""What a certificate compares with: whether the generator itself keeps what is promised, and in which precision."""

import resource

import numpy as np
import pytest
import torch
from drawn import CLASSES, drawn_by
from onnx import NodeProto, TensorProto, helper, numpy_helper
from torch import Tensor, nn

from gan_export import certify
from gan_export.artifact.candidate import CertificationError
from gan_export.artifact.cases import Array, Case, make_cases
from gan_export.artifact.certificate import Options
from gan_export.artifact.verify import summarise
from gan_export.certify import ask_reference, certificate_of
from gan_export.reference import EagerRunner, GraphRunner
from gan_export.refusal import BATCH_HINT

PIXEL = (0, 0, 2, 1)  # of one image
DRAWN = drawn_by()
CASES = make_cases(DRAWN.manifest.latent, DRAWN.manifest.classes)
PIXELS = DRAWN.pixels(next(iter(CASES.values())))[0].size
COMPARED = {name: case for name, case in CASES.items() if case.compared}


class Runner:
    """Draws what NumPy does, but for one of its calls."""

    name = "NumPy"
    in_train_mode: tuple[str, ...] = ("norm",)

    def __init__(self, other: str = "", by: float = 0.0, *, exact_until: int = 10**6) -> None:
        self.other, self.by, self.exact_until, self.calls = other, by, exact_until, 0
        self.exact = True
        self.exactly: list[int] = []  # images of each call in float64

    def draw(self, z: Array, label: Array | None) -> Array:
        name = list(COMPARED)[self.calls]
        self.calls += 1
        pixels = DRAWN.pixels(Case(z, label)).astype(np.float32)
        if name == self.other:
            pixels[PIXEL] += np.float32(self.by)
        return pixels

    def draw_exactly(self, z: Array, label: Array | None) -> Array | None:
        self.exactly.append(len(z))
        self.exact = len(self.exactly) <= self.exact_until
        return DRAWN.pixels(Case(z, label)) if self.exact else None


def test_the_cases_that_are_compared_are_drawn_and_counted():
    told: list[tuple[int, int]] = []
    found = ask_reference(Runner(), CASES, lambda *count: told.append(count))
    assert list(found.float32) == list(found.float64) == list(COMPARED)
    assert (found.changed, found.moved, found.in_train_mode) == (0, 0, ("norm",))
    for name, case in COMPARED.items():
        assert np.array_equal(found.float64[name], DRAWN.pixels(case))
        assert np.array_equal(found.float32[name], DRAWN.pixels(case).astype(np.float32))
    total = 2 * sum(len(case.z) for case in COMPARED.values())  # in both precisions
    assert told[0][0] < told[-1][0] == total
    assert {whole for _, whole in told} == {total}


def test_large_images_are_drawn_in_float64_a_few_at_a_time_where_that_makes_no_difference(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(certify, "EXACT_VALUES", 7 * PIXELS)
    runner = Runner()
    found = ask_reference(runner, CASES)
    assert max(runner.exactly) == 7
    assert sum(runner.exactly) == sum(len(case.z) for case in COMPARED.values())
    assert all(np.array_equal(found.float64[name], DRAWN.pixels(case)) for name, case in COMPARED.items())
    moving = Runner("alone22", 1.0)
    ask_reference(moving, CASES)
    assert moving.exactly == [len(case.z) for case in COMPARED.values()]


def test_pixels_that_find_no_room_are_told_in_one_line():
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(
            CertificationError, match=r"^the pixels of the generator itself can't be copied to .*ulimit -f"
        ):
            ask_reference(Runner(), CASES)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize(("case", "found"), [("repeat", (1, 0)), ("alone22", (0, 1)), ("seed1000003_batch7", (0, 1))])
def test_one_pixel_that_moves_by_more_than_rounding_is_found(case: str, found: tuple[int, int]):
    for by, (changed, moved) in ((0.9e-3, (0, 0)), (1.1e-3, found)):
        reference = ask_reference(Runner(case, by), CASES)
        assert (reference.changed, reference.moved) == (changed, moved)


def test_float64_counts_only_where_all_of_it_is_there():
    found = ask_reference(Runner(exact_until=len(COMPARED) - 1), CASES)
    assert len(found.float32) == len(COMPARED)
    assert found.float64 == {}


def test_a_reference_that_fails_says_on_which_batch():
    class Failing(Runner):
        def draw(self, z: Array, label: Array | None) -> Array:
            if len(z) == 7:
                raise ValueError("seven\nis too many")
            return super().draw(z, label)

    with pytest.raises(CertificationError, match=r"fails on seed0_batch7, a batch of 7: seven$") as caught:
        ask_reference(Failing(), CASES)
    assert caught.value.code == "dynamic_batch"


class Net(nn.Module):
    """(N, 5) -> (N, 1, 2, 2); in train mode it draws by the statistics of the batch."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4, momentum=0.0))

    def forward(self, z: Tensor) -> Tensor:
        return torch.tanh(self.net(z)).view(-1, 1, 2, 2)


def test_a_module_is_drawn_with_in_eval_mode_and_in_both_precisions():
    z = np.random.default_rng(0).standard_normal((3, 5)).astype(np.float32)
    module = Net().train()
    runner = EagerRunner(module)
    for _ in range(2):
        pixels, exact = runner.draw(z, None), runner.draw_exactly(z, None)
    with torch.no_grad():
        wanted = Net().eval().double()(torch.from_numpy(z).double()).numpy()
    assert (pixels.dtype, exact.dtype) == (np.float32, np.float64)
    assert np.abs(exact - wanted).max() < 1e-14
    assert 0 < np.abs(pixels - wanted).max() < 1e-6
    assert module.training
    assert next(module.parameters()).dtype == torch.float32


def graph_of(*nodes: NodeProto, **constants: list[int]) -> GraphRunner:
    """What makes `image` and `pixels`, both (N, 2), of z (N, 2)."""
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 2]) for name in ("z", "image", "pixels")]
    fixed = [numpy_helper.from_array(np.array(value, np.int64), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "g", values[:1], values[1:], fixed)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return GraphRunner(model.SerializeToString())


def test_a_graph_of_others_is_drawn_without_optimisations():
    runner = graph_of(*(helper.make_node("Identity", ["z"], [name]) for name in ("image", "pixels")))
    z = np.ones((1, 2), np.float32)
    assert np.array_equal(runner.draw(z, None), z)
    level = runner._session.get_session_options().graph_optimization_level
    assert level == level.ORT_DISABLE_ALL


@pytest.mark.parametrize(
    ("operator", "argument", "reason", "is_of_shapes"),
    [
        ("Reshape", [1, 2], "cannot be reshaped", True),
        ("Expand", [7, 2], "invalid expand shape", True),
        ("Gather", [5], "indices element out of data bounds", False),
        ("Expand", [1 << 40, 3, 2], "allocate memory", False),
    ],
)
def test_a_batch_size_is_suspected_only_where_shapes_do_not_fit(operator, argument, reason, is_of_shapes):
    nodes = [helper.make_node(operator, ["z", "shape"], [name], f"shape of {name}") for name in ("image", "pixels")]
    with pytest.raises(RuntimeError, match=reason) as caught:
        graph_of(*nodes, shape=argument).draw(np.ones((3, 2), np.float32), None)
    assert str(caught.value).endswith(BATCH_HINT) == is_of_shapes


def test_a_batch_size_that_became_channels_is_suspected():
    """As in StyleGAN2's fused convolution and in AdaIN, traced with one image."""
    nodes = [
        helper.make_node("Reshape", ["z", "flat"], ["x"]),
        helper.make_node("Cast", ["scale"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("InstanceNormalization", ["x", "floats", "floats"], ["y"]),
        *(helper.make_node("Reshape", ["y", "rows"], [name], f"rows of {name}") for name in ("image", "pixels")),
    ]
    runner = graph_of(*nodes, flat=[1, -1, 1], scale=[1, 1], rows=[-1, 2])
    runner.draw(np.ones((1, 2), np.float32), None)
    with pytest.raises(RuntimeError, match="channel") as caught:
        runner.draw(np.ones((3, 2), np.float32), None)
    assert str(caught.value).endswith(BATCH_HINT)


def test_the_document_is_sealed_and_names_the_files_that_were_certified():
    result = summarise(drawn_by(CLASSES).evidence(), Options())
    found = certificate_of(DRAWN.manifest, [result], "NumPy", Options())
    assert found.sha256 == found.digest()
    assert found.manifest_identity == DRAWN.manifest.identity()
    assert found.variants_sha256 == DRAWN.manifest.variants_digest()
    swapped = DRAWN.manifest.variants[0].model_copy(update={"sha256": "1" * 64})
    other = DRAWN.manifest.model_copy(update={"variants": [swapped]})
    assert certificate_of(other, [result], "NumPy", Options()).variants_sha256 != found.variants_sha256
