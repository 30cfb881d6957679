"""Opset 18 -> 17: hand-made graphs give the same numbers in both, and what generators are made of agrees with eager."""

from collections.abc import Callable, Mapping

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
import torch.nn.functional as F
from onnx import parser
from torch import Tensor, nn

from gan_export.capture import express
from gan_export.lowering import IR_VERSION, LoweringError, lower

pytestmark = pytest.mark.slow

TOLERANCE = 1e-5
PARTS = {
    "reduce": "y = ReduceMean <keepdims = 1> (x, axes)",
    "reduce_some": "y = ReduceMax <keepdims = 0> (x, axes)",
    "reduce_l2": "y = ReduceL2 (x, axes)",
    "reduce_sum": "y = ReduceSum (x, axes)",
    "reduce_all": "y = ReduceMin <keepdims = 1> (x)",
    "reduce_empty": "y = ReduceMean (x, none)",
    "reduce_nothing": "y = ReduceMean <noop_with_empty_axes = 1> (x, none)",
    "pad": "y = Pad <mode = 'reflect'> (x, two_pads, , last)",
    "pad_value": "y = Pad (x, two_pads, seven, last)",
    "pad_all": "y = Pad (x, all_pads)",
    "split": "a, b, c = Split <axis = 2, num_outputs = 3> (x)\n y = Concat <axis = 2> (c, a, b)",
    "split_negative": "a, b = Split <axis = -1, num_outputs = 2> (x)\n y = Concat <axis = 3> (b, a)",
    "split_sizes": "a, b = Split <axis = 1> (x, sizes_of_parts)\n y = Concat <axis = 1> (b, a)",
    "resize_scales": "y = Resize <mode = 'linear', axes = [2, 3]> (x, , scales)",
    "resize_sizes": "y = Resize <mode = 'cubic', axes = [-2, -1]> (x, , , sizes)",
    "resize_stretch": "y = Resize <antialias = 0, keep_aspect_ratio_policy = 'stretch', axes = [2, 3]> (x, , , sizes)",
    "mish": "y = Mish (x)",
    "scatter": "y = ScatterElements <axis = 1, reduction = 'add'> (x, index, updates)",
    "lp_pool": "y = LpPool <kernel_shape = [2, 2], p = 2> (x)",
    "branch": "y = If (yes) <then_branch = t () => (float[n, 4, 5, 6] p) { p = Mish (x) }, "
    "else_branch = e () => (float[n, 4, 5, 6] q) { m = ReduceMean (x, axes) q = Add (x, m) }>",
}
CONSTANTS = """
    int64[2] axes = {2, -1}, int64[0] none = {}, int64[4] two_pads = {1, 0, 2, 1}, int64[2] last = {-1, 2},
    float seven = {7.0}, int64[8] all_pads = {0, 0, 1, 1, 0, 0, 0, 2}, int64[2] sizes_of_parts = {1, 3},
    float[2] scales = {2.0, 1.5}, int64[2] sizes = {7, 9}, bool yes = {1},
    int64[1, 1, 1, 2] index = {0, 3}, float[1, 1, 1, 2] updates = {1.0, 2.0}
"""


def parse(body: str, opset: int = 18, imports: str = "", functions: str = "") -> onnx.ModelProto:
    """A model around some lines of ONNX text: x (n, 4, 5, 6) -> y."""
    text = f"""<ir_version: 10, opset_import: ["" : {opset}{imports}]>
    g (float[n, 4, 5, 6] x, int64[k] given) => (y) <{CONSTANTS}> {{ {body} }} {functions}"""
    return parser.parse_model(text.replace("'", '"'))


def run(model: onnx.ModelProto, **feed: np.ndarray) -> list[np.ndarray]:
    options = ort.SessionOptions()
    options.log_severity_level = 3  # unused constants of the hand-made graphs
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"]).run(None, feed)


@pytest.mark.parametrize("part", PARTS)
def test_the_same_numbers_in_both_opsets(part: str):
    model = parse(PARTS[part])
    lowered = lower(model)
    assert [(opset.domain, opset.version) for opset in lowered.opset_import] == [("", 17)]
    assert lowered.ir_version == IR_VERSION
    onnx.checker.check_model(lowered, full_check=True)
    rng = np.random.default_rng(1)
    for n in (1, 3):
        feed = {"x": rng.normal(size=(n, 4, 5, 6)).astype(np.float32), "given": np.array([2, 3])}
        (wanted,), (made,) = run(model, **feed), run(lowered, **feed)
        assert made.shape == wanted.shape
        assert np.array_equal(made, wanted)


def test_a_local_function_is_inlined():
    function = (
        '<domain: "own", opset_import: ["" : 18]> Halve (a) => (b) { c = ReduceMean <keepdims = 1> (a) b = Mish (c) }'
    )
    lowered = lower(parse("y = own.Halve (x)", imports=', "own" : 1', functions=function))
    onnx.checker.check_model(lowered, full_check=True)
    assert not lowered.functions
    assert {node.domain for node in lowered.graph.node} == {""}


def test_opset_17_is_left_alone():
    model = parse("y = ReduceMean <axes = [1]> (x)", opset=17)
    assert lower(model).graph == model.graph


@pytest.mark.parametrize(
    ("body", "imports", "reason"),
    [
        ("y = Resize <antialias = 1, mode = 'linear', axes = [2, 3]> (x, , scales)", "", "Resize .* can't antialias"),
        ("y = Resize <keep_aspect_ratio_policy = 'not_larger', axes = [2, 3]> (x, , , sizes)", "", "aspect ratio"),
        ("y = ReduceMean (x, given)", "", "ReduceMean .* its input 1 is computed while the graph runs"),
        ("a, b = Split <axis = 0, num_outputs = 2> (x)\n y = Concat <axis = 0> (b, a)", "", "Split .* not fixed"),
        ("y = CenterCropPad (x, given)", "", "CenterCropPad .* no such operator"),
        ("y = ScatterElements <reduction = 'max'> (x, index, updates)", "", "ScatterElements .* 'max'"),
        ("y = com.microsoft.Gelu (x)", ', "com.microsoft" : 1', "Gelu .* domain 'com.microsoft'"),
    ],
)
def test_what_opset_17_can_not_say_is_refused_by_name(body: str, imports: str, reason: str):
    with pytest.raises(LoweringError, match=reason) as caught:
        lower(parse(body, imports=imports))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("opset", [16, 19])
def test_other_opsets_are_refused(opset: int):
    with pytest.raises(ValueError, match=f"opset {opset} can't be lowered"):
        lower(parse("y = Relu (x)", opset=opset))


def test_the_origin_is_the_submodule():
    node = onnx.helper.make_node("Mish", ["x"], ["y"], name="n")
    assert LoweringError(node, "no").origin == "n"
    node.metadata_props.add(
        key="pkg.torch.onnx.name_scopes", value="['', 'generator', 'generator.main', 'generator.main.3', 'mish']"
    )
    assert LoweringError(node, "no").origin == "main.3"


def test_the_origin_of_what_is_in_no_submodule_is_forward():
    node = onnx.helper.make_node("Col2Im", ["x"], ["y"], name="node_col2im")
    node.metadata_props.add(key="pkg.torch.onnx.name_scopes", value="['', 'generator', 'generator.generator', 'fold']")
    assert str(LoweringError(node, "no")) == "Col2Im in forward itself: no"


# --- what generators are made of: one graph with all of it, against eager PyTorch


def image(z: Tensor) -> Tensor:
    return z.reshape(z.shape[0], 4, 4, 4)


def pixel_norm(_: nn.Module, z: Tensor) -> Tensor:
    return z * torch.rsqrt(z.pow(2).mean(1, keepdim=True) + 1e-8)


def self_attention(m: nn.Module, z: Tensor) -> Tensor:
    x = image(z)
    n, channels, height, width = x.size()
    query, key, value = (layer(x).view(n, -1, height * width) for layer in m)
    attention = torch.softmax(torch.bmm(query.permute(0, 2, 1), key), -1)
    return 0.7 * torch.bmm(value, attention.permute(0, 2, 1)).view(n, channels, height, width) + x


def modulated(m: nn.Module, z: Tensor) -> Tensor:
    """As in StyleGAN 2: the kernel is scaled for each image, which makes the batch the groups of one convolution."""
    n = z.shape[0]
    weight = m[1].weight[None] * m[0](z).view(n, 1, 4, 1, 1)
    weight = weight * torch.rsqrt(weight.pow(2).sum([2, 3, 4]) + 1e-8).view(n, -1, 1, 1, 1)
    return F.conv2d(image(z).reshape(1, n * 4, 4, 4), weight.view(n * 6, 4, 3, 3), padding=1, groups=n).view(n, 6, 4, 4)


def modulated_up(m: nn.Module, z: Tensor) -> Tensor:
    n = z.shape[0]
    weight = (m[1].weight[None] * m[0](z).view(n, 4, 1, 1, 1)).view(n * 4, 6, 3, 3)
    up = F.conv_transpose2d(image(z).reshape(1, n * 4, 4, 4), weight, stride=2, groups=n)
    return up.view(n, 6, 9, 9)


def modulated_unevenly(m: nn.Module, z: Tensor) -> Tensor:
    """Strides, gaps, margins and a kernel that differ between rows and columns, and a bias."""
    n = z.shape[0]
    x, weight = image(z).reshape(1, n * 4, 4, 4), (m[1].weight[None] * m[0](z).view(n, 1, 4, 1, 1)).view(n * 6, 4, 3, 2)
    made = F.conv2d(x, weight, m[1].bias.repeat(n), stride=(1, 2), padding=(1, 2), dilation=(2, 3), groups=n)
    return made.view(n, 6, 2, 3)


def modulated_up_unevenly(m: nn.Module, z: Tensor) -> Tensor:
    n = z.shape[0]
    x, weight = image(z).reshape(1, n * 4, 4, 4), (m[1].weight[None] * m[0](z).view(n, 4, 1, 1, 1)).view(n * 4, 6, 3, 2)
    made = F.conv_transpose2d(x, weight, m[1].bias.repeat(n), (2, 3), (0, 1), (1, 2), n, (1, 2))
    return made.view(n, 6, 10, 12)


def conditional_norm(m: nn.Module, z: Tensor) -> Tensor:
    gamma, beta = m[0](labels(z)).chunk(2, 1)
    return gamma.view(-1, 4, 1, 1) * m[1](image(z)) + beta.view(-1, 4, 1, 1)


def adaptive_norm(_: nn.Module, z: Tensor) -> Tensor:
    x = image(z)
    return (x - x.mean((2, 3), keepdim=True)) / (x.std((2, 3), keepdim=True) + 1e-5)


def labels(z: Tensor) -> Tensor:
    return z[:, 0].abs().long() % 3


def label_maps(_: nn.Module, z: Tensor) -> Tensor:
    hot = F.one_hot(labels(z), 3).float()
    return torch.cat(
        [image(z), hot[:, :, None, None].expand(-1, -1, 4, 4), hot.view(-1, 3, 1, 1).repeat(1, 1, 4, 4)], 1
    )


def written_in_place(_: nn.Module, z: Tensor) -> Tensor:
    x = image(z).clone()
    x[:, 0] = x[:, 1] * 2
    x[:, :, 1:3] += 1
    return x


def warped(_: nn.Module, z: Tensor) -> Tensor:
    grid = F.affine_grid(0.9 * torch.eye(2, 3).expand(z.size(0), -1, -1), [z.size(0), 4, 6, 6], align_corners=False)
    return F.grid_sample(image(z), grid, align_corners=False)


Part = Callable[[nn.Module, Tensor], Tensor]


def on_image(module: nn.Module) -> tuple[Part, nn.Module]:
    return lambda m, z: m(image(z)), module


def of(function: Callable[[Tensor], Tensor], module: nn.Module | None = None) -> tuple[Part, nn.Module]:
    return lambda _, z: function(z), module or nn.Identity()


def layers(*modules: nn.Module) -> nn.Module:
    return nn.ModuleList(modules)


def make_norms() -> Mapping[str, tuple[Part, nn.Module]]:
    running = nn.InstanceNorm2d(4, track_running_stats=True)
    nn.init.uniform_(running.running_mean)
    return {
        "pixel_norm": (pixel_norm, nn.Identity()),
        "instance_norm": on_image(nn.InstanceNorm2d(4, affine=True)),
        "instance_norm_running": on_image(running),
        "group_norm": on_image(nn.GroupNorm(2, 4)),
        "layer_norm": on_image(nn.LayerNorm([4, 4, 4])),
        "batch_statistics": on_image(nn.BatchNorm2d(4, track_running_stats=False)),
        "conditional_norm": (conditional_norm, layers(nn.Embedding(3, 8), nn.BatchNorm2d(4, affine=False))),
        "adaptive_norm": (adaptive_norm, nn.Identity()),
        "normalize": of(lambda z: F.normalize(z, dim=1)),
        "attention": (self_attention, layers(nn.Conv2d(4, 2, 1), nn.Conv2d(4, 2, 1), nn.Conv2d(4, 4, 1))),
        "transformer": (
            lambda m, z: m(z.view(-1, 4, 16)),
            nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, activation="gelu"),
        ),
    }


def make_sizes() -> Mapping[str, tuple[Part, nn.Module]]:
    return {
        "nearest": of(lambda z: F.interpolate(image(z), scale_factor=2)),
        "bilinear": of(lambda z: F.interpolate(image(z), scale_factor=2, mode="bilinear")),
        "bilinear_corners": of(lambda z: F.interpolate(image(z), scale_factor=2, mode="bilinear", align_corners=True)),
        "bicubic": of(lambda z: F.interpolate(image(z), scale_factor=2, mode="bicubic")),
        "bicubic_corners": of(lambda z: F.interpolate(image(z), scale_factor=2, mode="bicubic", align_corners=True)),
        "by_size": of(lambda z: F.interpolate(image(z), size=(7, 9), mode="bilinear")),
        "by_size_nearest": of(lambda z: F.interpolate(image(z), size=(7, 9))),
        "by_half": of(lambda z: F.interpolate(image(z), scale_factor=1.5, mode="bilinear")),
        "pixel_shuffle": on_image(nn.PixelShuffle(2)),
        "reflection": on_image(nn.ReflectionPad2d((1, 2, 0, 1))),
        "zero": on_image(nn.ZeroPad2d((1, 2, 0, 1))),
        "replication": on_image(nn.ReplicationPad2d(1)),
        "circular": on_image(nn.CircularPad2d(1)),
        "cropped": on_image(nn.ZeroPad2d((-1, 0, 1, -1))),
        "average": of(lambda z: F.avg_pool2d(image(z), 3, 2, 1, count_include_pad=False)),
        "adaptive_average": of(lambda z: F.adaptive_avg_pool2d(image(z), 3)),
        "adaptive_maximum": of(lambda z: F.adaptive_max_pool2d(image(z), 2)),
        "warped": (warped, nn.Identity()),
        "einsum": (lambda m, z: torch.einsum("nchw,cd->ndhw", image(z), m.weight), nn.Linear(5, 4)),
        "uneven_chunks": of(lambda z: torch.cat(z.chunk(3, 1)[::-1], 1)),
        "split": of(lambda z: torch.cat(torch.split(z, [20, 44], 1)[::-1], 1)),
        "label_maps": (label_maps, nn.Identity()),
        "written_in_place": (written_in_place, nn.Identity()),
        "indexed": of(lambda z: z[:, torch.tensor([3, 1, 2])].cumsum(1)),
        "masked": of(lambda z: torch.where(z > 0, z, z * 0.1).masked_fill(z > 1, 0.0) * (z < 0.5)),
        "ranked": of(lambda z: z.max(1, keepdim=True)[0] - z.amin((1,), keepdim=True) + z.norm(dim=1, keepdim=True)),
    }


def make_layers() -> Mapping[str, tuple[Part, nn.Module]]:
    doubled = torch.randn(64, 3, dtype=torch.float64)
    activations = (
        *(nn.PReLU(4), nn.ELU(), nn.SELU(), nn.SiLU(), nn.GELU(), nn.GELU("tanh"), nn.Mish(), nn.Softplus()),
        *(nn.Hardtanh(), nn.Hardswish(), nn.CELU(), nn.GLU(1), nn.Softmax2d()),
    )
    return {
        **{f"{i}_{type(module).__name__}": on_image(module) for i, module in enumerate(activations)},
        "output_padding": on_image(nn.ConvTranspose2d(4, 4, 3, 2, 1, output_padding=1)),
        "dilated_groups": on_image(nn.ConvTranspose2d(4, 6, 3, 2, 1, dilation=2, groups=2)),
        "reflecting": on_image(nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect")),
        "conv1d": (lambda m, z: m(z.unsqueeze(1)), nn.Conv1d(1, 3, 5, dilation=2)),
        "conv3d": (lambda m, z: m(z.view(-1, 1, 4, 4, 4)), nn.Conv3d(1, 3, 3, padding=1)),
        "no_bias": (lambda m, z: m(z), nn.Linear(64, 5, bias=False)),
        "spectral_norm": on_image(nn.utils.spectral_norm(nn.Conv2d(4, 4, 3))),
        "spectral_parametrization": on_image(nn.utils.parametrizations.spectral_norm(nn.Conv2d(4, 4, 3))),
        "weight_parametrization": on_image(nn.utils.parametrizations.weight_norm(nn.Conv2d(4, 4, 3))),
        "double_inside": of(lambda z: (z.double() @ doubled).float()),
        "modulated": (modulated, layers(nn.Linear(64, 4), nn.Conv2d(4, 6, 3))),
        "modulated_up": (modulated_up, layers(nn.Linear(64, 4), nn.ConvTranspose2d(4, 6, 3))),
        "modulated_unevenly": (modulated_unevenly, layers(nn.Linear(64, 4), nn.Conv2d(4, 6, (3, 2)))),
        "modulated_up_unevenly": (modulated_up_unevenly, layers(nn.Linear(64, 4), nn.ConvTranspose2d(4, 6, (3, 2)))),
    }


class Gallery(nn.Module):
    """All parts of a group beside each other, so that one export does for all."""

    def __init__(self, parts: Mapping[str, tuple[Part, nn.Module]]) -> None:
        super().__init__()
        self.functions = [function for function, _ in parts.values()]
        self.parts = nn.ModuleList(module for _, module in parts.values())

    def forward(self, z: Tensor) -> tuple[Tensor, ...]:
        return tuple(function(module, z) for function, module in zip(self.functions, self.parts, strict=True))


@pytest.mark.parametrize("make", [make_norms, make_sizes, make_layers])
def test_what_generators_are_made_of_agrees_with_eager(make: Callable[[], Mapping[str, tuple[Part, nn.Module]]]):
    torch.manual_seed(0)
    parts = make()
    gallery = Gallery(parts).eval()
    model = express(gallery, {"z": torch.randn(3, 64)}, list(parts))
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", 17)]
    wrong = []
    for n in (1, 3, 5):
        z = torch.randn(n, 64)
        with torch.no_grad():
            wanted = gallery(z)
        for name, ours, theirs in zip(parts, run(model, z=z.numpy()), wanted, strict=True):
            if ours.shape != theirs.shape or not np.abs(ours - theirs.numpy()).max() <= TOLERANCE:
                wrong.append((name, n, ours.shape, tuple(theirs.shape)))
    assert wrong == []
