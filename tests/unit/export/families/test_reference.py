"""Each family's images against a forward written a second time, from the state dict and torch.nn.functional alone."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from gan_export.families import FAMILIES, find_family

State = dict[str, Tensor]
MakeStateFn = Callable[..., State]
TOLERANCE = 1e-9  # in float64, where even an eps of 1e-4 instead of 1e-5 is far from it
FLOAT32_TOLERANCE = 1e-5
LATENTS = 4
CLASSES = 3


def norm(state: State, key: str, x: Tensor, eps: float = 1e-5) -> Tensor:
    """BatchNorm in eval mode, written out."""
    mean, var, weight, bias = (state[f"{key}.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
    sides = (1, -1) + (1,) * (x.ndim - 2)
    return (x - mean.view(sides)) / (var.view(sides) + eps).sqrt() * weight.view(sides) + bias.view(sides)


def linear(state: State, key: str, x: Tensor) -> Tensor:
    return x @ state[f"{key}.weight"].T + state[f"{key}.bias"]


def conv(state: State, key: str, x: Tensor) -> Tensor:
    weight = state[f"{key}.weight"]
    return F.conv2d(x, weight, state[f"{key}.bias"], padding=weight.shape[-1] // 2)


def transposed(state: State, key: str, x: Tensor, stride: int = 2, padding: int = 1) -> Tensor:
    return F.conv_transpose2d(x, state[f"{key}.weight"], state.get(f"{key}.bias"), stride=stride, padding=padding)


def nearest(x: Tensor) -> Tensor:
    return x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)


def leaky(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, 0.2 * x)


def examples_dcgan(state: State, z: Tensor, _: Tensor | None) -> Tensor:
    x = transposed(state, "main.0", z.view(*z.shape, 1, 1), stride=1, padding=0)
    for i in (1, 4, 7, 10):
        x = transposed(state, f"main.{i + 2}", norm(state, f"main.{i}", x).relu())
    return x.tanh()


def upsampling(state: State, z: Tensor, _: Tensor | None, eps: float = 0.8) -> Tensor:
    x = linear(state, "l1.0", z)
    side = int((x.shape[1] / 128) ** 0.5)
    x = norm(state, "conv_blocks.0", x.view(-1, 128, side, side))
    x = leaky(norm(state, "conv_blocks.3", conv(state, "conv_blocks.2", nearest(x)), eps))
    x = leaky(norm(state, "conv_blocks.7", conv(state, "conv_blocks.6", nearest(x)), eps))
    return conv(state, "conv_blocks.9", x).tanh()


def upsampling_multiplied(state: State, z: Tensor, label: Tensor | None) -> Tensor:
    return upsampling(state, state["label_emb.weight"][label] * z, None)


def perceptron(state: State, z: Tensor, _: Tensor | None, eps: float = 0.8) -> Tensor:
    x = leaky(linear(state, "model.0", z))
    for i in (2, 5, 8):
        x = leaky(norm(state, f"model.{i + 1}", linear(state, f"model.{i}", x), eps))
    return linear(state, "model.11", x).tanh().view(-1, 3, 5, 5)


def perceptron_label_first(state: State, z: Tensor, label: Tensor | None) -> Tensor:
    return perceptron(state, torch.cat([state["label_emb.weight"][label], z], dim=1), None)


def residual(state: State, z: Tensor, _: Tensor | None) -> Tensor:
    def bilinear(x: Tensor) -> Tensor:
        return F.interpolate(x, size=2 * x.shape[-1], mode="bilinear", align_corners=False)

    x = linear(state, "l1", z)
    x = x.view(len(z), -1, 4, 4)
    for block in ("block2", "block3", "block4"):
        h = conv(state, f"{block}.c1", bilinear(norm(state, f"{block}.b1", x).relu()))
        h = conv(state, f"{block}.c2", norm(state, f"{block}.b2", h).relu())
        x = h + conv(state, f"{block}.c_sc", bilinear(x))
    return conv(state, "c5", norm(state, "b5", x).relu())


def deep_conv(state: State, z: Tensor, _: Tensor | None, eps: float = 1e-4) -> Tensor:
    x = linear(state, "linear0", z).view(-1, 512, 4, 4)
    for i in range(3):
        x = norm(state, f"blocks.{i}.0.bn0", transposed(state, f"blocks.{i}.0.deconv0", x), eps).relu()
    return conv(state, "conv4", x).tanh()


def torchgan(state: State, z: Tensor, _: Tensor | None) -> Tensor:
    x = transposed(state, "model.0.0", z.view(*z.shape, 1, 1), stride=1, padding=0)
    last = max(int(key.split(".")[1]) for key in state if key.startswith("model."))
    for i in range(last):
        x = transposed(state, f"model.{i + 1}.0", leaky(norm(state, f"model.{i}.1", x)))
    return x.tanh()


def torchgan_label_last(state: State, z: Tensor, label: Tensor | None) -> Tensor:
    return torchgan(state, torch.cat([z, state["label_embeddings.weight"][label]], dim=1), None)


def torchgan_multiplied(state: State, z: Tensor, label: Tensor | None) -> Tensor:
    return torchgan(state, z * state["label_embeddings.weight"][label], None)


def bounded(forward: Callable[..., Tensor], end: Callable[[Tensor], Tensor]) -> Callable[..., Tensor]:
    return lambda *arguments: end(forward(*arguments))


MLP = {"image_shape": "3,5,5"}
CASES: dict[str, tuple[str, dict[str, int], dict[str, str], Callable[..., Tensor]]] = {
    "pytorch-examples/dcgan": ("pytorch-examples", {}, {}, examples_dcgan),
    "pytorch-gan-collections/dcgan": ("pytorch-examples", {"kernel": 2}, {}, examples_dcgan),
    "pytorch-gan/dcgan": ("pytorch-gan-conv", {}, {}, upsampling),
    "pytorch-gan/dragan": ("pytorch-gan-conv", {}, {}, upsampling),
    "pytorch-gan/acgan": ("pytorch-gan-conv", {"classes": CLASSES}, {}, upsampling_multiplied),
    "pytorch-gan/sgan": ("pytorch-gan-conv", {"classes": CLASSES}, {}, upsampling),
    "pytorch-gan/gan": ("pytorch-gan-mlp", {}, MLP, perceptron),
    "pytorch-gan/wgan": ("pytorch-gan-mlp", {}, MLP, perceptron),
    "pytorch-gan/wgan_gp": ("pytorch-gan-mlp", {}, MLP, perceptron),
    "pytorch-gan/cgan": ("pytorch-gan-mlp", {"classes": CLASSES}, MLP, perceptron_label_first),
    "mimicry/sngan-32": ("mimicry", {}, {}, bounded(residual, torch.tanh)),
    "mimicry/dcgan-32": ("mimicry", {}, {}, bounded(residual, torch.tanh)),
    "mimicry/dcgan-cifar": ("mimicry", {}, {}, bounded(residual, torch.sigmoid)),
    "studiogan/deep_conv": ("studiogan", {}, {}, deep_conv),
    "torchgan/dcgan": ("torchgan", {}, {}, torchgan),
    "torchgan/cgan": ("torchgan", {"classes": CLASSES, "emb": CLASSES}, {}, torchgan_label_last),
    "torchgan/acgan": ("torchgan", {"classes": CLASSES, "emb": 7}, {}, torchgan_multiplied),
}
CONDITIONAL = {"pytorch-gan/acgan", "pytorch-gan/cgan", "torchgan/cgan", "torchgan/acgan"}


def latents(dim: int) -> Tensor:
    return torch.randn(LATENTS, dim, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


def double(state: State) -> State:
    return {key: value.double() for key, value in state.items()}


def test_every_family_has_a_reference():
    assert sorted(CASES) == sorted(family.name for family in FAMILIES)


@pytest.mark.parametrize("name", CASES)
@torch.no_grad()
def test_the_images_are_the_reference_s(name: str, make_state: MakeStateFn):
    kind, sizes, answers, reference = CASES[name]
    state = make_state(kind, **sizes)
    built = find_family(name).build(state, answers)
    z, label = latents(built.latent_dim), torch.tensor([0, 2, 1, 0])
    labels = (label,) if built.classes else ()
    images32 = built.module(z.float(), *labels)
    images = built.module.double()(z, *labels)
    expected = reference(double(state), z, label)

    assert images.shape == (LATENTS, built.channels, built.height, built.width)
    assert images32.dtype == torch.float32
    assert (images32 - images).abs().max() < FLOAT32_TOLERANCE
    assert built.classes == (CLASSES if name in CONDITIONAL else 0)
    assert expected.std() > 0.05  # neither saturated nor constant, or the comparison would be blind
    assert expected.abs().quantile(0.5) < 0.9
    assert (images - expected).abs().max() < TOLERANCE
    low, high = built.value_range
    assert low <= images.min() <= images.max() <= high
    assert not built.module.training


@pytest.mark.parametrize("name", sorted(CONDITIONAL))
@torch.no_grad()
def test_the_label_matters_where_it_is_used(name: str, make_state: MakeStateFn):
    kind, sizes, answers, _ = CASES[name]
    built = find_family(name).build(make_state(kind, **sizes), answers)
    z = latents(built.latent_dim)
    first, second = (built.module.double()(z, torch.full((LATENTS,), label)) for label in (0, 1))
    assert (first - second).abs().max() > 1e-3
    with pytest.raises(ValueError, match="3 classes: pass labels"):
        built.module(z)


@pytest.mark.parametrize(
    ("name", "other"), [("pytorch-gan/dcgan", 1e-5), ("pytorch-gan/gan", 1e-5), ("studiogan/deep_conv", 0.5)]
)
@torch.no_grad()
def test_eps_is_the_repository_s_unless_it_is_answered(name: str, other: float, make_state: MakeStateFn):
    kind, sizes, answers, reference = CASES[name]
    state = make_state(kind, **sizes)
    family = find_family(name)
    usual, changed = family.build(state, answers), family.build(state, answers | {"eps": str(other)})
    z = latents(usual.latent_dim)
    images = changed.module.double()(z)
    assert (images - reference(double(state), z, None, other)).abs().max() < TOLERANCE
    assert (images - usual.module.double()(z)).abs().max() > 0.01
    assert changed.hyperparameters["eps"] == other
    assert f"eps={other}" in changed.caveat


@torch.no_grad()
def test_mimicry_s_net_for_cifar_alone_ends_in_a_sigmoid(make_state: MakeStateFn):
    state = make_state("mimicry")
    sngan, cifar = (find_family(f"mimicry/{name}").build(state, {}) for name in ("sngan-32", "dcgan-cifar"))
    assert (sngan.value_range, cifar.value_range) == ((-1.0, 1.0), (0.0, 1.0))
    z = latents(5).float()
    assert sngan.module(z).min() < 0 < cifar.module(z).min()


@torch.no_grad()
def test_an_image_does_not_depend_on_its_neighbours(make_state: MakeStateFn):
    built = find_family("pytorch-gan/dcgan").build(make_state("pytorch-gan-conv"), {})
    z, module = latents(built.latent_dim), built.module.double()
    assert (module(z)[2:3] - module(z[2:3])).abs().max() < TOLERANCE
