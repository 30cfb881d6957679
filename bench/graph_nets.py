"""The benchmark set: generators as people export them, untrained, but with activations as trained ones have."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from gan_export.artifact import SAMPLER, LatentSpec
from gan_export.families.mimicry import ResidualGenerator
from gan_export.families.pytorch_examples import Dcgan
from gan_export.families.pytorch_gan_mlp import Perceptron
from gan_export.sources.source import Source, image_spec
from gan_training.nets import Generator
from gan_training.specs import GeneratorSpec

CONTRAST = 0.5  # standard deviation of pixels on [-1, 1]; of photographs it is about that


@dataclass(frozen=True)
class Net:
    """A generator in eval mode, called as module(z) or module(z, label)."""

    module: nn.Module
    latent_dim: int
    classes: int = 0


def _own(**spec: Any) -> Callable[[], Net]:
    made = GeneratorSpec(**spec)
    return lambda: Net(Generator(made), made.latent_dim, made.classes)


NETS: dict[str, Callable[[], Net]] = {
    "dcgan-64": lambda: Net(Dcgan(100, 64, 3), 100),
    "dcgan-28": _own(image_size=28, channels=1),
    "dcgan-32": _own(image_size=32, channels=3),
    "acgan-28": _own(image_size=28, channels=1, classes=10),
    "cgan-mlp": lambda: Net(Perceptron(100, 784, 10, image_shape=(1, 28, 28)), 100, 10),
    "wgan-nearest-32": _own(image_size=32, channels=3, upsample="nearest"),
    "resblock-32": lambda: Net(ResidualGenerator(128, 256), 128),
    "dcgan-128": _own(image_size=128, channels=3, latent_dim=100),
}


def build(name: str) -> Net:
    """With weights of N(0, 0.05), BatchNorm's statistics those of 64 images, and a last layer of CONTRAST."""
    torch.manual_seed(1)
    net = NETS[name]()
    layers = [each for each in net.module.modules() if isinstance(each, nn.Conv2d | nn.ConvTranspose2d | nn.Linear)]
    for layer in layers:
        nn.init.normal_(layer.weight, 0, 0.05)
    for norm in net.module.modules():
        if isinstance(norm, nn.BatchNorm2d | nn.BatchNorm1d):
            norm.momentum = None  # the mean over all batches, which is one
            nn.init.normal_(norm.weight, 1, 0.1)
            nn.init.normal_(norm.bias, 0, 0.1)
    z = torch.randn(64, net.latent_dim)
    with torch.no_grad():
        _draw(net, z, net.module.train())
        for _ in range(8):
            layers[-1].weight *= CONTRAST / _draw(net, z, net.module.eval()).std()
    return net


def source_of(name: str, net: Net) -> Source:
    """For gan_export's `export`."""
    with torch.no_grad():
        _, channels, height, width = _draw(net, torch.zeros(2, net.latent_dim), net.module).shape
    return Source(
        generator=net.module,
        family=f"bench/{name}",
        hyperparameters={},
        latent=LatentSpec(dim=net.latent_dim, distribution="normal", sampler=SAMPLER),
        image=image_spec(channels, height, width),
        class_names=[str(i) for i in range(net.classes)] or None,
        sha256="0" * 64,
        weights="raw",
        training={},
    )


def _draw(net: Net, z: Tensor, module: nn.Module) -> Tensor:
    made: Tensor = module(z, torch.arange(len(z)) % net.classes) if net.classes else module(z)
    return made
