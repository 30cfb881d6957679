"""nn.Module -> ONNX bytes: the signature, what must not be inside, and agreement with eager PyTorch."""

import copy
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
import torch.nn.functional as F
from google.protobuf.message import Message
from torch import Tensor, nn

from gan_export.artifact.certificate import TOLERANCE
from gan_export.artifact.pixels import to_uint8
from gan_export.capture import capture, seal
from gan_export.capture_errors import CaptureError
from gan_training.specs import GeneratorSpec

pytestmark = pytest.mark.slow

MakeNetFn = Callable[[GeneratorSpec], nn.Module]
SPEC = GeneratorSpec(image_size=16, channels=1, latent_dim=8, classes=3, embed_dim=4, width=4)
PLAIN_SPEC = GeneratorSpec(image_size=16, channels=3, latent_dim=5, width=4)
IDENTITY = "ab" * 32
HERE = str(Path(__file__).parents[3]).encode()
LEAKS = (HERE, b".py", b"/home", b"/root", b"/tmp", b"/usr", b"site-packages", b"gan_export", b"gan_training")


@pytest.fixture(scope="module")
def graph(make_net: MakeNetFn) -> onnx.ModelProto:
    return capture(make_net(SPEC), SPEC.latent_dim, SPEC.classes)


@pytest.fixture(scope="module")
def plain_graph(make_net: MakeNetFn) -> onnx.ModelProto:
    return capture(make_net(PLAIN_SPEC), PLAIN_SPEC.latent_dim, 0)


def describe(value: onnx.ValueInfoProto) -> tuple[str, str, list[int | str]]:
    tensor = value.type.tensor_type
    dims = [dim.dim_param or dim.dim_value for dim in tensor.shape.dim]
    return value.name, onnx.TensorProto.DataType.Name(tensor.elem_type), dims


def messages(message: Message) -> Iterator[Message]:
    """A protobuf message and all messages inside it."""
    yield message
    for field, value in message.ListFields():
        if field.message_type is not None:
            for child in value if field.is_repeated else [value]:
                yield from messages(child)


def test_the_signature(graph: onnx.ModelProto, plain_graph: onnx.ModelProto):
    assert [describe(value) for value in graph.graph.input] == [
        ("z", "FLOAT", ["batch", 8]),
        ("label", "INT64", ["batch"]),
    ]
    assert [describe(value) for value in graph.graph.output] == [
        ("image", "UINT8", ["batch", 1, 16, 16]),
        ("pixels", "FLOAT", ["batch", 1, 16, 16]),
    ]
    assert [describe(value) for value in plain_graph.graph.input] == [("z", "FLOAT", ["batch", 5])]
    assert [describe(value)[2] for value in plain_graph.graph.output] == [["batch", 3, 16, 16]] * 2


def test_opset_17_of_the_standard_domain_alone(graph: onnx.ModelProto):
    assert [(opset.domain, opset.version) for opset in graph.opset_import] == [("", 17)]
    assert {node.domain for node in graph.graph.node} == {""}
    assert not graph.functions
    onnx.checker.check_model(graph, full_check=True)


def test_nothing_of_this_machine_is_inside(graph: onnx.ModelProto):
    content = seal(graph, IDENTITY)
    assert [leak for leak in LEAKS if leak in content] == []
    sealed = onnx.load_from_string(content)
    assert [(prop.key, prop.value) for prop in sealed.metadata_props] == [("ganworks.manifest_sha256", IDENTITY)]
    del sealed.metadata_props[:]
    for message in messages(sealed):
        filled = {field.name for field, value in message.ListFields() if value}
        assert not filled & {"doc_string", "metadata_props", "external_data"}, message


def test_the_same_module_gives_the_same_bytes(graph: onnx.ModelProto, make_net: MakeNetFn):
    again = capture(make_net(SPEC), SPEC.latent_dim, SPEC.classes)
    assert seal(again, IDENTITY) == seal(graph, IDENTITY)
    assert seal(again, "cd" * 32) != seal(graph, IDENTITY)


@pytest.mark.parametrize(
    ("upsample", "image_size", "channels", "classes"),
    [
        ("transpose", 28, 1, 0),
        ("transpose", 28, 3, 24),
        ("transpose", 64, 3, 0),
        ("nearest", 28, 1, 24),
        ("nearest", 32, 3, 0),
        ("nearest", 64, 3, 24),
    ],
)
def test_agreement_with_eager_pytorch(make_net: MakeNetFn, upsample, image_size, channels, classes):
    spec = GeneratorSpec(
        image_size=image_size, channels=channels, latent_dim=7, classes=classes, width=4, upsample=upsample, slope=0.1
    )
    net = make_net(spec)
    model = capture(copy.deepcopy(net), spec.latent_dim, classes)
    session = ort.InferenceSession(seal(model, IDENTITY), providers=["CPUExecutionProvider"])
    rng = torch.Generator().manual_seed(1)
    for n in (1, 5):
        z = torch.randn(n, spec.latent_dim, generator=rng)
        labels = (torch.arange(n) * 5 % classes,) if classes else ()
        with torch.no_grad():
            wanted = net(z, *labels).numpy()
        feed = {"z": z.numpy()} | ({"label": labels[0].numpy()} if labels else {})
        image, pixels = session.run(["image", "pixels"], feed)
        assert pixels.shape == wanted.shape == (n, channels, image_size, image_size)
        assert wanted.std() > 0.1  # the comparison is about real pictures
        assert np.abs(pixels - wanted).max() <= TOLERANCE
        assert np.abs(image.astype(int) - to_uint8(wanted)).max() <= 1


def test_rounding_and_clipping():
    """Pixels around the middle between two uint8 steps, on it (0 is 127.5), and beyond both ends."""

    class Steps(nn.Module):
        def forward(self, z: Tensor) -> Tensor:
            return (z / 127.5 - 1.0).reshape(-1, 1, 1, 1)

    model = capture(Steps(), 1, 0)
    session = ort.InferenceSession(seal(model, IDENTITY), providers=["CPUExecutionProvider"])
    values = np.array([-40.0, 0.0, 0.4, 0.6, 1.4, 127.4, 127.5, 254.4, 254.6, 255.0, 300.0], np.float32)
    image, pixels = session.run(["image", "pixels"], {"z": values[:, None]})
    assert image.ravel().tolist() == [0, 0, 0, 1, 1, 127, 128, 254, 255, 255, 255]
    assert np.array_equal(image, to_uint8(pixels))


class Raises(nn.Module):
    def forward(self, z: Tensor) -> Tensor:
        raise RuntimeError(f"no luck with {z.shape[1]} numbers\nand no second line")


class NeedsFile(nn.Module):
    def forward(self, z: Tensor) -> Tensor:
        raise OSError(f"no such table for {len(z.shape)}")


class OneBatch(nn.Module):
    def forward(self, z: Tensor) -> Tensor:
        return z.view(3, 1, 2, 4) * 2


class Branches(nn.Module):
    def forward(self, z: Tensor) -> Tensor:
        return (z if z.mean() > 0 else -z).view(-1, 1, 2, 4)


class Median(nn.Module):
    def forward(self, z: Tensor) -> Tensor:
        return z.view(-1, 1, 2, 4).median(3, keepdim=True)[0]


class Antialias(nn.Module):
    def forward(self, z: Tensor) -> Tensor:
        return F.interpolate(z.view(-1, 1, 2, 4), scale_factor=0.5, mode="bilinear", antialias=True)


class InBfloat16(nn.Module):
    """As training scripts leave it in forward; the layer is one that ONNX has for that type, or none."""

    def __init__(self, layer: nn.Module, *, enabled: bool = True) -> None:
        super().__init__()
        self.layer, self.enabled = layer, enabled

    def forward(self, z: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.enabled):
            return self.layer(z.view(-1, 8, 1, 1)).float()


class Rounds(nn.Module):
    def forward(self, z: Tensor) -> Tensor:
        return z.view(-1, 1, 2, 4).bfloat16().float()


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        (nn.Sequential(nn.Flatten(), nn.Linear(8, 4)), "find an implementation for "),
        (nn.ConvTranspose2d(8, 1, 2), "ConvTranspose.* has unsupported type"),
    ],
)
def test_a_forward_that_computes_in_bfloat16_is_told_how_to_do_without(layer: nn.Module, reason: str):
    with pytest.raises(
        CaptureError, match=f"computes in bfloat16, .*{reason}.*leave out .* or give that enabled=False"
    ):
        capture(InBfloat16(layer).eval(), 8, 0)
    capture(InBfloat16(layer, enabled=False).eval(), 8, 0)
    capture(Rounds().eval(), 8, 0)


def within(module: nn.Module) -> nn.Module:
    """As the third layer of a generator."""
    return nn.Sequential(nn.Identity(), nn.Sequential(nn.Tanh(), module))


@pytest.mark.parametrize(
    ("module", "code", "reason"),
    [
        (Raises(), "failed", r"\(test_capture.py:\d+\): no luck with 8 numbers"),
        (NeedsFile(), "failed", r"\(test_capture.py:\d+\): no such table"),
        (OneBatch(), "dynamic_batch", "a constant \\(3\\); use -1"),
        (Branches(), "untraceable", r"tensor values \(test_capture.py:\d+\)"),
        (within(Median()), "unsupported_operator", "aten.median.dim, used in 1.1;"),
        (within(Antialias()), "unsupported_operator", "Resize in 1.1: opset 17 can't antialias"),
    ],
)
def test_what_can_not_be_captured_is_told_in_one_line(
    module: nn.Module, code: str, reason: str, capfd: pytest.CaptureFixture[str]
):
    with pytest.raises(CaptureError, match=reason) as caught:
        capture(module.eval(), 8, 0)
    assert caught.value.code == code
    assert "\n" not in str(caught.value)
    assert "\x1b" not in str(caught.value)
    assert "/" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


class CountsItself(nn.Module):
    """Batch sizes as Python numbers, a weight that is computed, a doubled buffer and an operator new in opset 18."""

    def __init__(self) -> None:
        super().__init__()
        self.start = nn.Parameter(torch.randn(1, 1, 4, 4))
        self.mix = nn.utils.parametrizations.orthogonal(nn.Linear(8, 16))
        self.register_buffer("gain", torch.tensor(0.5, dtype=torch.float64))

    def forward(self, z: Tensor) -> Tensor:
        start = self.start.repeat(len(z), 1, 1, 1) + self.start.expand(int(z.shape[0]), -1, -1, -1)
        return torch.tanh(F.mish(start + self.mix(z).view(-1, 1, 4, 4)) * self.gain).float()


def test_code_that_a_plain_trace_would_pin_to_one_batch():
    torch.manual_seed(0)
    net = CountsItself().eval()
    model = capture(net, 8, 0)
    session = ort.InferenceSession(seal(model, IDENTITY), providers=["CPUExecutionProvider"])
    for n in (1, 4):
        z = torch.randn(n, 8)
        with torch.no_grad():
            wanted = net(z).numpy()
        assert np.abs(session.run(["pixels"], {"z": z.numpy()})[0] - wanted).max() <= TOLERANCE
    assert torch.nn.utils.parametrize.is_parametrized(net.mix)  # the module itself is left as it was


class ReadsData(nn.Module):
    """`.data` of a weight, of a plain attribute and of an intermediate tensor, and writing into the last."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 16)
        self.gain = torch.full((16,), 0.5)

    def forward(self, z: Tensor) -> Tensor:
        pixels = F.linear(z.data, self.layer.weight.data * 1.5) * self.gain.data
        pixels.data.clamp_(-0.25, 0.25)
        return pixels.view(-1, 1, 4, 4)


class AssignsData(nn.Module):
    def forward(self, z: Tensor) -> Tensor:
        pixels = z.view(-1, 1, 2, 4)
        pixels.data = pixels.data * 0.5
        return pixels


def test_data_of_tensors_is_traced():
    net = ReadsData().eval()
    session = ort.InferenceSession(seal(capture(net, 8, 0), IDENTITY), providers=["CPUExecutionProvider"])
    z = torch.randn(5, 8)
    with torch.no_grad():
        wanted = net(z).numpy()
    assert np.abs(session.run(["pixels"], {"z": z.numpy()})[0] - wanted).max() <= TOLERANCE
    with pytest.raises(
        CaptureError, match=r"can't be traced \(test_capture.py:\d+\): it assigns to the .data of a tensor"
    ):
        capture(AssignsData().eval(), 8, 0)


class ReadsDataAndCounts(ReadsData):
    """Is traced by its byte code, because it makes the batch size a Python number."""

    def forward(self, z: Tensor) -> Tensor:
        n = len(z)
        return (self.layer(z).data * self.layer.weight.data.sum()).reshape(int(n), 1, 4, 4)


def test_data_of_tensors_that_byte_code_reads_is_refused():
    """Else the process ends here: torch.onnx reads where nothing is."""
    with pytest.raises(CaptureError, match=r"can't be traced: it reads the .data of a tensor: use .detach\(\)$"):
        capture(ReadsDataAndCounts().eval(), 8, 0)


OTHER_PROCESS = """
import pathlib, torch
from gan_export.capture import capture, seal
torch.manual_seed(0)
layers = [torch.nn.Linear(8, 16), torch.nn.LayerNorm(16), torch.nn.Mish(), torch.nn.Unflatten(1, (1, 4, 4))]
made = seal(capture(torch.nn.Sequential(*layers).eval(), 8, 0), "ab" * 32)
"""


def test_another_process_gives_the_same_bytes(tmp_path: Path):
    """Its sets are ordered differently, and it runs elsewhere."""
    here: dict[str, bytes] = {}
    exec(OTHER_PROCESS, here)
    environment = os.environ | {"PYTHONHASHSEED": "1", "USER": "somebody", "HOME": str(tmp_path)}
    code = OTHER_PROCESS + 'pathlib.Path("made.onnx").write_bytes(made)'
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True)
    content = (tmp_path / "made.onnx").read_bytes()
    assert content == here["made"]
    found = [mark for mark in (*LEAKS, socket.gethostname().encode(), b"somebody") if mark in content]
    assert found == []


def test_quiet(make_net: MakeNetFn, capfd: pytest.CaptureFixture[str]):
    capture(make_net(SPEC), SPEC.latent_dim, SPEC.classes)
    assert capfd.readouterr() == ("", "")
