"""nn.Module -> ONNX bytes: the signature, what must not be inside, and agreement with eager PyTorch."""

import copy
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

from gan_export.capture import CaptureError, capture, seal
from gan_export.certify import TOLERANCE, to_uint8
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
        ("transpose", 32, 1, 24),
        ("transpose", 64, 3, 0),
        ("nearest", 28, 1, 24),
        ("nearest", 32, 3, 0),
        ("nearest", 32, 1, 0),
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


class ReflectionPad(nn.Module):
    def forward(self, z: Tensor) -> Tensor:
        return F.pad(z.reshape(-1, 1, 2, 4), (1, 1, 1, 1), mode="reflect")


@pytest.mark.parametrize(
    ("module", "reason"),
    [(Raises(), "no luck with 8 numbers"), (ReflectionPad(), "not opset 17 of the standard domain alone")],
)
def test_what_can_not_be_captured_is_told_in_one_line(module: nn.Module, reason: str):
    with pytest.raises(CaptureError, match=reason) as caught:
        capture(module, 8, 0)
    assert "\n" not in str(caught.value)
    assert "\x1b" not in str(caught.value)


def test_quiet(make_net: MakeNetFn, capfd: pytest.CaptureFixture[str]):
    capture(make_net(SPEC), SPEC.latent_dim, SPEC.classes)
    assert capfd.readouterr() == ("", "")
