"""State dicts of every family, written down from key names and shapes alone and filled with random weights."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

State = dict[str, Tensor]
MakeStateFn = Callable[..., State]


class Draw:
    """Fills a state dict; weights are scaled so that values keep their size from layer to layer."""

    def __init__(self, seed: int) -> None:
        self.state: State = {}
        self.rng = torch.Generator().manual_seed(seed)

    def weight(self, key: str, *shape: int, fan_in: float, bias: int = 0) -> None:
        self.state[f"{key}.weight"] = torch.randn(shape, generator=self.rng) * (1.0 / fan_in) ** 0.5
        if bias:
            self.state[f"{key}.bias"] = 0.3 * torch.randn(bias, generator=self.rng)

    def linear(self, key: str, outputs: int, inputs: int) -> None:
        self.weight(key, outputs, inputs, fan_in=inputs, bias=outputs)

    def conv(self, key: str, outputs: int, inputs: int, kernel: int) -> None:
        self.weight(key, outputs, inputs, kernel, kernel, fan_in=inputs * kernel**2, bias=outputs)

    def transposed(self, key: str, inputs: int, outputs: int, kernel: int = 4, bias: bool = False) -> None:
        stride_share = 4 if kernel == 4 else 1  # weights that meet in a pixel
        self.weight(key, inputs, outputs, kernel, kernel, fan_in=inputs * stride_share, bias=outputs if bias else 0)

    def norm(self, key: str, width: int) -> None:
        self.state[f"{key}.weight"] = 0.5 + torch.rand(width, generator=self.rng)
        self.state[f"{key}.bias"] = 0.3 * torch.randn(width, generator=self.rng)
        self.state[f"{key}.running_mean"] = 0.3 * torch.randn(width, generator=self.rng)
        self.state[f"{key}.running_var"] = 0.2 + 2 * torch.rand(width, generator=self.rng)
        self.state[f"{key}.num_batches_tracked"] = torch.tensor(100)


def pytorch_examples(draw: Draw, nz: int = 7, g: int = 4, nc: int = 3, kernel: int = 4) -> None:
    widths = [nz, 8 * g, 4 * g, 2 * g, g]
    for i in range(4):
        draw.transposed(f"main.{3 * i}", widths[i], widths[i + 1], 4 if i else kernel)
        draw.norm(f"main.{3 * i + 1}", widths[i + 1])
    draw.transposed("main.12", g, nc)


def pytorch_gan_conv(draw: Draw, z: int = 6, size: int = 16, channels: int = 1, classes: int = 0) -> None:
    if classes:
        draw.weight("label_emb", classes, z, fan_in=1)
    draw.linear("l1.0", 128 * (size // 4) ** 2, z)
    draw.norm("conv_blocks.0", 128)
    draw.conv("conv_blocks.2", 128, 128, 3)
    draw.norm("conv_blocks.3", 128)
    draw.conv("conv_blocks.6", 64, 128, 3)
    draw.norm("conv_blocks.7", 64)
    draw.conv("conv_blocks.9", channels, 64, 3)


def pytorch_gan_mlp(draw: Draw, z: int = 9, values: int = 3 * 5 * 5, classes: int = 0) -> None:
    if classes:
        draw.weight("label_emb", classes, classes, fan_in=1)
    draw.linear("model.0", 128, z + classes)
    for index, (outputs, inputs) in {2: (256, 128), 5: (512, 256), 8: (1024, 512)}.items():
        draw.linear(f"model.{index}", outputs, inputs)
        draw.norm(f"model.{index + 1}", outputs)
    draw.linear("model.11", values, 1024)


def mimicry(draw: Draw, z: int = 5, g: int = 6) -> None:
    draw.linear("l1", 16 * g, z)
    for block in ("block2", "block3", "block4"):
        draw.norm(f"{block}.b1", g)
        draw.norm(f"{block}.b2", g)
        draw.conv(f"{block}.c1", g, g, 3)
        draw.conv(f"{block}.c2", g, g, 3)
        draw.conv(f"{block}.c_sc", g, g, 1)
    draw.norm("b5", g)
    draw.weight("c5", 3, g, 3, 3, fan_in=9 * 9 * g, bias=3)  # the blocks' sums have grown


def studiogan(draw: Draw, z: int = 8) -> None:
    draw.linear("linear0", 8192, z)
    for i, (inputs, outputs) in enumerate([(512, 256), (256, 128), (128, 64)]):
        draw.transposed(f"blocks.{i}.0.deconv0", inputs, outputs, bias=True)
        draw.norm(f"blocks.{i}.0.bn0", outputs)
    draw.conv("conv4", 3, 64, 3)


def torchgan(
    draw: Draw, z: int = 7, layers: int = 3, step: int = 4, channels: int = 3, classes: int = 0, emb: int = 0
) -> None:
    """`layers` after the first: images of 4 * 2**layers pixels. `emb`: columns of the embedding."""
    if classes:
        draw.weight("label_embeddings", classes, emb, fan_in=1)
    inputs = z + (emb if emb == classes else 0)
    for i in range(layers):
        outputs = step * 2 ** (layers - 1 - i)
        draw.transposed(f"model.{i}.0", inputs, outputs)
        draw.norm(f"model.{i}.1", outputs)
        inputs = outputs
    draw.transposed(f"model.{layers}.0", inputs, channels, bias=True)


MAKERS: dict[str, Callable[..., None]] = {
    "pytorch-examples": pytorch_examples,
    "pytorch-gan-conv": pytorch_gan_conv,
    "pytorch-gan-mlp": pytorch_gan_mlp,
    "mimicry": mimicry,
    "studiogan": studiogan,
    "torchgan": torchgan,
}


@pytest.fixture(scope="session")
def make_state() -> MakeStateFn:
    """make_state(kind, **sizes): random weights of one net of MAKERS, BatchNorm statistics that are no identity."""

    def make(kind: str, seed: int = 1, **sizes: int) -> State:
        draw = Draw(seed)
        MAKERS[kind](draw, **sizes)
        return draw.state

    return make
