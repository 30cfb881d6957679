"""Graphs in int8: near enough, in integer kernels, and with those layers in float32 that would show."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from torch import nn

from gan_export.artifact import SAMPLER, LatentSpec, load_artifact
from gan_export.artifact.gates import MAX_VISIBLE_SHARE, MIN_PSNR_DB
from gan_export.artifact.measures import TIE, VISIBLE
from gan_export.artifact.runtime import session_options
from gan_export.capture import capture
from gan_export.families.mimicry import ResidualGenerator
from gan_export.families.pytorch_gan_mlp import Perceptron
from gan_export.half import half
from gan_export.int8.calibration import AT_ONCE, METHODS, Span
from gan_export.int8.comparison import Comparison
from gan_export.int8.graph import round_tensor
from gan_export.quantize import QuantizationError, Quantized, quantize
from gan_export.tuning import feed_of, simplified
from gan_training.nets import Generator
from gan_training.specs import GeneratorSpec

pytestmark = pytest.mark.slow

DIM = 16
LATENT = LatentSpec(dim=DIM, distribution="normal", sampler=SAMPLER)
OUTLIER = 3000.0
ZOO = Path(__file__).parents[3] / "zoo"
OTHERS = 512  # images: of the residual net, a rare one is off by 20 dB more than most, and weighs a lot among few


def settled(module: nn.Module, classes: int = 0) -> nn.Module:
    """Small random weights, and BatchNorm's statistics as training would leave them."""
    torch.manual_seed(3)
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.normal_(layer.weight, 0, 0.08)
        if isinstance(layer, nn.BatchNorm2d | nn.BatchNorm1d):
            layer.momentum = None
    label = (torch.arange(64) % classes,) if classes else ()
    with torch.no_grad():
        module.train()(torch.randn(64, DIM), *label)
    return module.eval()


def own(**spec: object) -> nn.Module:
    made = GeneratorSpec(latent_dim=DIM, width=16, **spec)
    torch.manual_seed(3)  # BatchNorm's scales keep what they are made with
    return settled(Generator(made), made.classes)


NETS: dict[str, tuple[Callable[[], nn.Module], int, set[str]]] = {
    "dcgan": (lambda: own(image_size=24, channels=3), 0, {"QLinearConv"}),
    "conditional": (lambda: own(image_size=16, channels=1, classes=10), 10, {"QLinearConv"}),
    "leaky, nearest": (
        lambda: own(image_size=16, channels=3, slope=0.2, upsample="nearest"), 0, {"QLinearConv"},
    ),
    "cut off": (lambda: own(image_size=24, channels=3, ceiling=1.5), 0, {"QLinearConv"}),
    "cut off, nearest": (lambda: own(image_size=16, channels=1, ceiling=1.5, upsample="nearest"), 0, {"QLinearConv"}),
    "residual": (lambda: settled(ResidualGenerator(DIM, 12)), 0, {"QLinearConv"}),
    "perceptron": (lambda: settled(Perceptron(DIM, 196, image_shape=(1, 14, 14))), 0, {"QGemm"}),
}  # fmt: skip


def graph_of(module: nn.Module, classes: int = 0) -> onnx.ModelProto:
    return simplified(capture(module, DIM, classes)).model


def run(model: onnx.ModelProto, feed: dict[str, np.ndarray]) -> list[np.ndarray]:
    session = ort.InferenceSession(model.SerializeToString(), session_options(), providers=["CPUExecutionProvider"])
    return session.run(["image", "pixels"], feed)


@pytest.fixture(scope="module", params=NETS)
def case(request: pytest.FixtureRequest) -> tuple[onnx.ModelProto, int, set[str], Quantized]:
    make, classes, kernels = NETS[request.param]
    torch.manual_seed(3)  # biases keep what they are made with
    graph = graph_of(make(), classes)
    return graph, classes, kernels, quantize(graph, LATENT, classes)


def test_images_are_near_and_said_to_be_as_near_as_they_are(case):
    graph, classes, _, found = case
    onnx.checker.check_model(found.model, full_check=True)
    feed = feed_of(LATENT, classes, OTHERS, first_seed=55)
    (image, pixels), (image8, pixels8) = run(graph, feed), run(found.model, feed)
    psnr = 10 * np.log10(4 / np.square(pixels8.astype(float) - pixels).mean())
    assert found.psnr_db >= MIN_PSNR_DB
    assert found.visible_share <= MAX_VISIBLE_SHARE
    # These are other images than those that were looked at.
    assert psnr == pytest.approx(found.psnr_db, abs=3)
    assert psnr >= MIN_PSNR_DB
    assert (np.abs(image8.astype(int) - image) > VISIBLE).mean() <= MAX_VISIBLE_SHARE
    assert (image8 != image).any()


def test_an_image_is_the_same_alone_to_the_byte(case):
    _, classes, _, found = case
    feed = feed_of(LATENT, classes, 64)
    together = run(found.model, feed)
    for i in (0, 13, 63):
        alone = run(found.model, {name: array[i : i + 1] for name, array in feed.items()})
        assert all(np.array_equal(one[0], all_[i]) for one, all_ in zip(alone, together, strict=True))


def test_onnx_runtime_joins_the_layers_into_its_integer_kernels(case, tmp_path: Path):
    _, _, kernels, found = case
    options = session_options()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    ort.InferenceSession(found.model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    kinds = Counter(node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node)
    in_int8 = [one for one in found.rewrites if one.name.startswith("int8")]
    assert kernels <= kinds.keys()
    assert kinds["QLinearConv"] + kinds["QGemm"] == len(in_int8)


def test_what_a_matrix_product_makes_stays_in_floats_until_a_layer_reads_it():
    """Its kernel makes floats at once: fewer steps, and an activation in vectors in place of one by a table."""
    torch.manual_seed(3)
    found = quantize(graph_of(settled(Perceptron(DIM, 196, image_shape=(1, 14, 14)))), LATENT, 0)
    made = {node.output[0]: node.op_type for node in found.model.graph.node}
    in_int8 = [one for one in found.rewrites if one.name.startswith("int8")]
    given = [made[node.input[0]] for node in found.model.graph.node if node.op_type == "QuantizeLinear"]
    assert len(in_int8) > 1
    assert sorted(given) == ["Add"] + ["LeakyRelu"] * len(in_int8)  # the last one makes bytes of pixels


def test_nothing_is_cut_off_again_behind_an_integer_kernel():
    """Bytes end at the ceiling; a Clip between a layer and its bytes would keep it out of its integer kernel."""
    graph = graph_of(own(image_size=24, channels=3, ceiling=1.5))
    found = quantize(graph, LATENT, 0)
    assert [node.op_type for node in graph.graph.node].count("Clip") == 2
    assert "Clip" not in {node.op_type for node in found.model.graph.node}


def test_products_do_not_overflow_whatever_the_processor():
    """Unjoined, the graph says the same in float32. Fast kernels of processors without VNNI were off by 238 here."""
    artifact = load_artifact(ZOO / "mnist-wgan")
    graph = onnx.load(artifact.path_of(artifact.variant("int8")))
    feed = feed_of(artifact.manifest.latent, 0, 256)
    options = session_options()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    unjoined = ort.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])
    wanted = unjoined.run(["image"], feed)[0].astype(int)
    assert np.abs(run(graph, feed)[0].astype(int) - wanted).max() <= VISIBLE  # where a half rounds up or down


@pytest.mark.parametrize(("byte_products", "slow"), [(True, False), (False, True), (None, True)])
def test_only_kernels_that_overflow_are_left_aside(monkeypatch: pytest.MonkeyPatch, byte_products, slow):
    monkeypatch.setattr("gan_export.artifact.runtime.adds_byte_products", lambda: byte_products)
    exact, key = session_options(), "session.x64quantprecision"
    if slow:
        assert exact.get_session_config_entry(key) == "1"
    else:
        with pytest.raises(RuntimeError, match=key):
            exact.get_session_config_entry(key)


def test_the_same_graph_gives_the_same_bytes_again():
    graph = graph_of(own(image_size=16, channels=1, classes=3), 3)
    one, other = (quantize(graph, LATENT, 3).model.SerializeToString(deterministic=True) for _ in range(2))
    assert one == other


def test_a_layer_that_would_show_stays_in_float32_and_is_named():
    """One channel is far larger than the others, and its weights in the next layer as much smaller."""
    net = own(image_size=32, channels=3)
    norm, after = net.blocks[1], net.blocks[3]
    with torch.no_grad():
        norm.weight[0] *= OUTLIER
        norm.bias[0] *= OUTLIER
        after.weight[0] /= OUTLIER
    found = quantize(graph_of(net), LATENT, 0)
    left = {one.layer for one in found.rewrites if one.name.startswith("float32")}
    assert "blocks.3" in left
    assert len(left) < len(found.rewrites)
    assert found.psnr_db >= MIN_PSNR_DB


def test_channels_of_many_sizes_are_brought_to_a_like_one(monkeypatch: pytest.MonkeyPatch):
    """One channel in four is forty times as large as the others, and its weights in the next layer as much smaller."""
    net = own(image_size=32, channels=3)
    norm, after = net.blocks[1], net.blocks[3]
    with torch.no_grad():
        norm.weight[::4] *= 40
        norm.bias[::4] *= 40
        after.weight[::4] /= 40
    found = quantize(graph_of(net), LATENT, 0)
    monkeypatch.setattr("gan_export.quantize.equalized", lambda *given: given[3])
    without = quantize(graph_of(net), LATENT, 0)
    in_int8 = [{one.layer for one in each.rewrites if one.name.startswith("int8")} for each in (found, without)]
    assert "blocks.3" in in_int8[0] - in_int8[1]
    assert found.psnr_db >= MIN_PSNR_DB


def test_the_last_layer_is_in_int8_however_far_its_values_go_where_tanh_is_flat():
    net = own(image_size=16, channels=1)
    with torch.no_grad():
        net.to_image[0].weight *= 3
    found = quantize(graph_of(net), LATENT, 0)
    assert "to_image.0" in {one.layer for one in found.rewrites if one.name.startswith("int8")}
    assert found.psnr_db >= MIN_PSNR_DB


def test_other_ways_are_tried_where_the_best_for_all_layers_leaves_little_in_int8():
    net = own(image_size=16, channels=1)
    with torch.no_grad():
        net.to_image[0].weight *= 6
    found = quantize(graph_of(net), LATENT, 0)
    assert "blocks.0" in {one.layer for one in found.rewrites if one.name.startswith("int8")}  # nearly all the work
    assert found.visible_share <= MAX_VISIBLE_SHARE


def test_a_trained_net_is_nearer_with_ranges_that_fit_each_tensor(monkeypatch: pytest.MonkeyPatch):
    artifact = load_artifact(ZOO / "fashion-cgan")
    graph = onnx.load(artifact.path_of(artifact.variant()))
    mixed = quantize(graph, artifact.manifest.latent, artifact.manifest.classes)
    found = {}
    for method in METHODS:
        with monkeypatch.context() as patch:
            patch.setattr("gan_export.int8.calibration.METHODS", {method: METHODS[method]})
            try:
                found[method] = quantize(graph, artifact.manifest.latent, artifact.manifest.classes).visible_share
            except QuantizationError:
                continue
    assert found  # some are near enough
    assert mixed.visible_share < min(found.values())


def test_the_last_layer_may_have_nothing_to_spare_for_the_certificate(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("gan_export.int8.comparison.SPARE_DB", 60.0)
    found = quantize(graph_of(own(image_size=16, channels=1)), LATENT, 0)
    kept = [one.layer for one in found.rewrites if one.name.startswith("int8")]
    assert len(kept) == 1
    assert len(found.rewrites) > 1
    assert found.psnr_db >= MIN_PSNR_DB
    assert found.visible_share <= MAX_VISIBLE_SHARE


def test_a_net_that_does_not_bear_it_is_refused_with_its_figures():
    net = own(image_size=16, channels=1)
    with torch.no_grad():
        net.project_norm.weight[0] *= OUTLIER
        net.project_norm.bias[0] *= OUTLIER
        net.blocks[0].weight[0] /= OUTLIER
        net.blocks[1].weight[0] *= OUTLIER
        net.blocks[1].bias[0] *= OUTLIER
        net.to_image[0].weight[0] /= OUTLIER
        net.to_image[0].weight *= 8
    with pytest.raises(
        QuantizationError,
        match=r"too large: PSNR \d+\.\d dB, [\d.]+% of uint8 pixels off by more than 4, the worst",
    ):
        quantize(graph_of(net), LATENT, 0)


def test_a_net_without_large_layers_is_refused():
    class Small(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(DIM, 64)

        def forward(self, z: torch.Tensor) -> torch.Tensor:
            return torch.tanh(self.layer(z)).view(-1, 1, 8, 8)

    with pytest.raises(QuantizationError, match="no convolution or matrix product that is large enough"):
        quantize(graph_of(Small().eval()), LATENT, 0)


class Ending(nn.Module):
    """Convolutions of one size; the image is what the last one makes, or something simple of that."""

    def __init__(self, last: nn.Module) -> None:
        super().__init__()
        self.first = nn.Linear(DIM, 16 * 64)
        self.body = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1), nn.ReLU())
        self.to_image = nn.Sequential(nn.Conv2d(16, 1, 3, padding=1), last)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return self.to_image(self.body(torch.relu(self.first(z)).view(-1, 16, 8, 8)))


@pytest.mark.parametrize("last", [nn.Hardtanh(), nn.Identity()])
@pytest.mark.parametrize("upsamples", [True, False])
def test_the_image_is_the_rounded_pixels_where_these_are_what_a_layer_makes(last: nn.Module, upsamples: bool):
    net = own(image_size=16, channels=1, upsample="nearest") if upsamples else settled(Ending(last))
    net.to_image[-1] = last
    found = quantize(graph_of(net), LATENT, 0)
    in_int8 = [one.layer for one in found.rewrites if one.name.startswith("int8")]
    assert any(layer.startswith("to_image") for layer in in_int8)
    image, pixels = run(found.model, feed_of(LATENT, 0, 32, first_seed=55))
    exact = np.clip((pixels.astype(float) + 1) * 127.5, 0, 255)
    assert np.abs(image - exact).max() <= 0.5 + TIE
    if isinstance(last, nn.Hardtanh):
        assert np.abs(pixels).max() <= 1


@pytest.mark.parametrize("shape", [(1, -1), (1,), ()])
def test_a_bias_of_another_shape_is_added_all_the_same(shape: tuple[int, ...]):
    torch.manual_seed(3)
    graph = graph_of(settled(Perceptron(DIM, 196, image_shape=(1, 14, 14))))
    biases = {node.input[2] for node in graph.graph.node if node.op_type == "Gemm"}
    for tensor in graph.graph.initializer:
        if tensor.name in biases:
            value = onnx.numpy_helper.to_array(tensor)
            value = value.reshape(shape) if shape == (1, -1) else value[:1].reshape(shape)
            tensor.CopyFrom(onnx.numpy_helper.from_array(value, tensor.name))
    onnx.checker.check_model(graph, full_check=True)
    found = quantize(graph, LATENT, 0)
    assert found.psnr_db >= MIN_PSNR_DB
    assert len([one for one in found.rewrites if one.name.startswith("int8")]) > 1


def test_images_are_compared_a_few_at_a_time():
    graph, feed = graph_of(own(image_size=16, channels=1)), feed_of(LATENT, 0, 2 * AT_ONCE + 3)
    compare = Comparison(graph, {}, feed, lambda _: None)
    assert [len(image) for image, _ in compare._draw(graph)] == [AT_ONCE, AT_ONCE, 3]
    found = compare.rounded("pixels", Span.of(-1, 1))
    (image, pixels), (image8, pixels8) = run(graph, feed), run(round_tensor(graph, "pixels", Span.of(-1, 1)), feed)
    assert found.error == pytest.approx(np.square(pixels8.astype(float) - pixels).mean())
    assert found.worst == pytest.approx(np.sqrt(np.square(pixels8.astype(float) - pixels).mean(axis=(1, 2, 3)).max()))
    assert found.visible_share == (np.abs(image8.astype(int) - image) > VISIBLE).mean()


def test_a_graph_in_float16_is_refused():
    with pytest.raises(QuantizationError, match="none of its layers computes in float32"):
        quantize(half(graph_of(own(image_size=16, channels=1))), LATENT, 0)


def test_a_layer_that_is_given_a_constant_stays_in_float32():
    class Product(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(DIM, 16 * 64)
            self.second, self.third = nn.Conv2d(16, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1)
            self.last = nn.Conv2d(16, 1, 3, padding=1)

        def forward(self, z: torch.Tensor) -> torch.Tensor:
            x = torch.relu(self.first(z)).view(-1, 16, 8, 8)
            return torch.tanh(self.last(torch.relu(self.second(x) * self.third(x))))

    torch.manual_seed(0)
    model = graph_of(Product().eval())
    given = next(node for node in model.graph.node if node.op_type == "Conv")
    constant = np.random.default_rng(0).standard_normal((1, 16, 8, 8)).astype(np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(constant, "learned"))
    given.input[0] = "learned"
    found = quantize(model, LATENT, 0)
    assert found.psnr_db >= MIN_PSNR_DB
    kept = [node for node in found.model.graph.node if node.op_type == "Conv" and node.input[0] == "learned"]
    assert len(kept) == 1
