"""ONNX files as their authors write them, and the images that they draw themselves."""

import io
import warnings
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import torch
from onnx import numpy_helper, parser
from torch import Tensor, nn

from gan_export.artifact import draw, run_session
from gan_export.graphs.probe import examine
from gan_export.sources.graph import GraphOptions

Z, K, SIZE = 6, 4, 8
CLOSE = 1e-5  # pixels on [-1, 1]
SPREAD = 3.0  # of weights, so that images use both halves of the range


class Net(nn.Module):
    """A small upsampling generator, from the latent's linear map on."""

    def __init__(self, inputs: int = Z, channels: int = 3) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.fc = nn.Linear(inputs, 8 * 16)
        self.norm = nn.BatchNorm2d(8)
        self.up = nn.Upsample(scale_factor=2)
        self.conv = nn.Conv2d(8, channels, 3, padding=1)
        self.embedding = nn.Embedding(K, inputs)
        nn.init.normal_(self.conv.weight, 0.0, SPREAD)

    def draw(self, x: Tensor) -> Tensor:
        x = self.norm(self.fc(x).view(-1, 8, 4, 4))  # (N, 8, 4, 4)
        return self.conv(self.up(x))


class Tanh(Net):
    def forward(self, z):
        return torch.tanh(self.draw(z))


class Sigmoid(Net):
    def forward(self, z):
        return torch.sigmoid(self.draw(z))


class ToneMapped(Net):
    def forward(self, z):
        return torch.sigmoid(self.draw(z)) * 255.0


class ByteImages(Net):
    def forward(self, z):
        return (torch.sigmoid(self.draw(z)) * 255.0).to(torch.uint8).permute(0, 2, 3, 1)


class Linear(Net):
    def forward(self, z):
        return torch.tanh(self.fc(z)).reshape(-1, 1, 8, 16)


class LastChannel(Net):
    def forward(self, z):
        return torch.tanh(self.draw(z)).permute(0, 2, 3, 1)


class Grey(Net):
    def __init__(self):
        super().__init__(channels=1)

    def forward(self, z):
        return torch.tanh(self.draw(z)).squeeze(1)


class Flat(Net):
    def forward(self, z):
        return torch.tanh(self.draw(z)).flatten(1)


class LatentMap(Net):
    def forward(self, noise):
        return torch.tanh(self.draw(noise.flatten(1)))


class Ids(Net):
    def forward(self, noise, labels):
        return torch.tanh(self.draw(noise * self.embedding(labels)))


class IdsFirst(Net):
    def forward(self, labels, noise):
        return torch.tanh(self.draw(noise * self.embedding(labels.long()).squeeze(1)))


class OneHot(Net):
    def __init__(self):
        super().__init__(Z + K)

    def forward(self, noise, target):
        return torch.tanh(self.draw(torch.cat([noise, target], 1)))


class OneHotMap(OneHot):
    def forward(self, noise, target):
        return super().forward(noise.flatten(1), target.flatten(1))


class Doubled(Net):
    def forward(self, z):
        images = torch.tanh(self.draw(z))
        return images.mean((1, 2, 3)), images


def write(
    net: nn.Module, path: Path, example: tuple[Tensor, ...], opset: int, modern: bool, fixed: bool = False
) -> Path:
    """As its author would: torch.onnx of either make, in eval mode, under the author's names."""
    names = [f"in_{i}" for i in range(len(example))]
    batch = {0: torch.export.Dim("n")} if modern else {0: "n"}
    axes = (
        {"dynamic_shapes": tuple(batch for _ in example)} if modern else {"dynamic_axes": dict.fromkeys(names, batch)}
    )
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        torch.onnx.export(
            net.eval(),
            example,
            str(path),
            dynamo=modern,
            opset_version=opset,
            input_names=names,
            external_data=False,
            **({} if fixed else axes),
        )
    return path


def author_images(path: Path, *feed: np.ndarray, output: int = 0) -> np.ndarray:
    """What the file itself gives, run by its author."""
    session = ort.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_inputs()]
    return session.run(None, dict(zip(names, feed, strict=True)))[output]


def pixels_of(model: onnx.ModelProto, z: np.ndarray, label: np.ndarray | None = None) -> np.ndarray:
    """What a served graph gives; its uint8 image is the rounded one."""
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    image, pixels = run_session(session, z, label, pixels=True)
    assert (image.dtype, pixels.dtype) == (np.uint8, np.float32)
    assert np.abs(image - (pixels.astype(np.float64) + 1) * 127.5).max() <= 0.501
    return pixels


def served(path: Path, **options: object) -> onnx.ModelProto:
    """What the reading process makes of a file, made here."""
    return examine(path.read_bytes(), GraphOptions(**options))[0]


def latents(count: int = 5) -> np.ndarray:
    return draw(range(100, 100 + count), Z, "normal").latents


LABEL = np.array([3, 0, 1, 2, 3])


def parsed(text: str, opset: int = 17) -> onnx.ModelProto:
    return parser.parse_model(f'<ir_version: 8, opset_import: ["" : {opset}]> {text}')


def saved(model: onnx.ModelProto, path: Path) -> Path:
    onnx.save(model, path)
    return path


def linear(signature: str, body: str = "x = Identity(z)", weights: str = "") -> onnx.ModelProto:
    """x (n, 6) -> images (n, 1, 4, 4)"""
    model = parsed(
        f"g ({signature}) => (float[n, 1, 4, 4] y) <int64[4] shape = {{-1, 1, 4, 4}}{weights}> "
        f"{{ {body} \n h = MatMul(x, w) \n t = Tanh(h) \n y = Reshape(t, shape) }}"
    )
    rng = np.random.default_rng(0)
    model.graph.initializer.append(numpy_helper.from_array(rng.normal(size=(6, 16)).astype(np.float32), "w"))
    return model
