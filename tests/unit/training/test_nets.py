"""Generator and critic: shapes, ranges, what the label does, and what the literature says is in them."""

import dataclasses
from itertools import pairwise

import pytest
import torch
from torch import nn

from gan_training.build import build_specs
from gan_training.config import TrainConfig
from gan_training.nets import Critic, Generator, draw_latents
from gan_training.specs import CriticSpec, GeneratorSpec, halvings

SIZES = (28, 32, 64)
N = 3
EQUAL = 1e-5  # float32 through a few layers


def nets(gan_type: str, size: int = 28, channels: int = 1, classes: int = 24, **settings) -> tuple[Generator, Critic]:
    small = {"latent_dim": 5, "generator_width": 4, "critic_width": 4, "embed_dim": 3}
    torch.manual_seed(0)
    generator, critic = build_specs(TrainConfig.for_type(gan_type, "toy", small, **settings), size, channels, classes)
    return Generator(generator), Critic(critic)


def images(critic: Critic, n: int = N) -> torch.Tensor:
    spec = critic.spec
    shape = (n, spec.channels, spec.image_size, spec.image_size)
    return torch.rand(shape, generator=torch.Generator().manual_seed(2)) * 2 - 1


@pytest.mark.parametrize("upsample", ["transpose", "nearest"])
@pytest.mark.parametrize("classes", [0, 24])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", SIZES)
def test_generator_gives_images_in_tanh_range(size, channels, classes, upsample):
    torch.manual_seed(0)
    spec = GeneratorSpec(size, channels, latent_dim=5, classes=classes, embed_dim=3, width=4, upsample=upsample)
    generator = Generator(spec)
    labels = torch.tensor([0, 11, 23]) if classes else None
    for mode in (True, False):
        # Huge latents drive the last layer far beyond 1 in eval mode, where BatchNorm doesn't scale them back.
        made = generator.train(mode)(torch.randn(N, 5) * (1 if mode else 1e6), labels)
        assert made.shape == (N, channels, size, size)
        assert made.dtype == torch.float32
        assert made.abs().max() <= 1
    assert made.abs().max() > 0.999
    assert made.min() < -0.9
    assert made.max() > 0.9


@pytest.mark.parametrize("head", ["none", "concat", "projection", "auxiliary"])
@pytest.mark.parametrize("norm", ["none", "batch", "spectral"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", SIZES)
def test_critic_scores_each_image(size, channels, norm, head):
    classes = 0 if head == "none" else 24
    critic = Critic(CriticSpec(size, channels, classes=classes, label_head=head, norm=norm, width=4))
    output = critic(images(critic), torch.tensor([0, 11, 23]) if classes else None)
    assert output.score.shape == (N,)
    assert output.score.isfinite().all()
    if head == "auxiliary":
        assert output.class_logits.shape == (N, 24)
    else:
        assert output.class_logits is None


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"lipschitz": "clip"},
        {"conditional": True},
        {"conditional": True, "conditioned_by": "concat"},
        {"critic_norm": "spectral"},
    ],
)
def test_wgan_critic_has_no_batch_norm_and_no_sigmoid(size, settings):
    _, critic = nets("wgan", size, **settings)
    for module in critic.modules():
        assert not isinstance(module, nn.modules.batchnorm._BatchNorm | nn.Sigmoid | nn.LogSigmoid | nn.Tanh)
    x, labels = images(critic), torch.tensor([1, 2, 3])
    critic.eval()  # spectral norm's power iteration moves in train mode; without BatchNorm nothing else differs
    together = critic(x, labels).score
    alone = torch.cat([critic(x[i : i + 1], labels[i : i + 1]).score for i in range(N)])
    torch.testing.assert_close(alone, together, atol=EQUAL, rtol=EQUAL)
    with torch.no_grad():
        critic.score.bias.add_(1000.0)
        shifted = critic(x, labels).score
    torch.testing.assert_close(shifted - together, torch.full((N,), 1000.0), atol=1e-2, rtol=0)  # no squashing


def test_batch_norm_stays_out_of_the_first_layer_of_a_dcgan_critic():
    _, critic = nets("dcgan", 64, critic_norm="batch")
    kinds = [type(module) for module in critic.blocks]
    assert kinds[:2] == [nn.Conv2d, nn.LeakyReLU]
    assert kinds.count(nn.BatchNorm2d) == 3


@pytest.mark.parametrize("gan_type", ["dcgan", "cgan", "acgan", "wgan"])
@pytest.mark.parametrize("size", SIZES)
def test_nets_are_strided_convolutions_with_leaky_critics(size, gan_type):
    generator, critic = nets(gan_type, size)
    doublings = halvings(size)[1]
    convolutions = [m for m in critic.modules() if isinstance(m, nn.Conv2d)]
    assert [c.stride for c in convolutions] == [(2, 2)] * doublings
    assert {m.negative_slope for m in critic.modules() if isinstance(m, nn.LeakyReLU)} == {0.2}
    for net in (generator, critic):
        for module in net.modules():
            assert not isinstance(module, nn.MaxPool2d | nn.AvgPool2d | nn.AdaptiveAvgPool2d)
    assert isinstance(generator.to_image[-1], nn.Tanh)


@pytest.mark.parametrize("size", SIZES)
def test_generator_upsamples_as_asked(size):
    doublings = halvings(size)[1]
    by = {name: nets("dcgan", size, upsample=name)[0] for name in ("transpose", "nearest")}
    layers = {name: [m for m in net.modules() if not list(m.children())] for name, net in by.items()}
    assert sum(isinstance(m, nn.ConvTranspose2d) for m in layers["transpose"]) == doublings
    assert not any(isinstance(m, nn.Upsample | nn.Conv2d) for m in layers["transpose"])
    assert not any(isinstance(m, nn.ConvTranspose2d) for m in layers["nearest"])
    after = [follower for layer, follower in pairwise(layers["nearest"]) if isinstance(layer, nn.Upsample)]
    assert len(after) == doublings
    assert all(isinstance(m, nn.Conv2d) and m.stride == (1, 1) for m in after)
    assert {m.mode for m in layers["nearest"] if isinstance(m, nn.Upsample)} == {"nearest"}


@pytest.mark.parametrize(
    ("gan_type", "settings"),
    [("cgan", {}), ("acgan", {}), ("wgan", {"conditional": True})],
)
def test_every_label_changes_the_generated_image(gan_type, settings):
    generator, _ = nets(gan_type, **settings)
    z = torch.randn(1, 5, generator=torch.Generator().manual_seed(3)).repeat(24, 1)
    made = generator.eval()(z, torch.arange(24)).flatten(1)
    apart = torch.cdist(made, made) + torch.eye(24)
    assert apart.min() > 1e-4
    with pytest.raises(ValueError, match="24 classes: pass labels"):
        generator(z)


@pytest.mark.parametrize("gan_type", ["dcgan", "wgan"])
def test_unconditional_nets_ignore_classes_in_the_data(gan_type):
    generator, critic = nets(gan_type, classes=24)
    assert generator.spec.classes == critic.spec.classes == 0
    assert generator(torch.randn(N, 5)).shape == (N, 1, 28, 28)


@pytest.mark.parametrize(
    ("gan_type", "settings", "sees"),
    [
        ("cgan", {"conditioned_by": "projection"}, True),
        ("cgan", {"conditioned_by": "concat"}, True),
        ("wgan", {"conditional": True}, True),
        ("wgan", {"conditional": True, "conditioned_by": "concat"}, True),
        ("acgan", {}, False),
    ],
)
def test_label_changes_the_score_unless_the_critic_classifies(gan_type, settings, sees):
    _, critic = nets(gan_type, **settings)
    x = images(critic, 1).repeat(24, 1, 1, 1)
    scores = critic.eval()(x, torch.arange(24)).score
    if sees:
        assert len(scores.unique()) == 24
    else:
        assert len(scores.unique()) == 1


@pytest.mark.parametrize("upsample", ["transpose", "nearest"])
@pytest.mark.parametrize("mapping_layers", [0, 2])
def test_spec_and_weights_are_the_whole_net(upsample, mapping_layers):
    generator, _ = nets("cgan", 32, 3, upsample=upsample, generator_slope=0.1, mapping_layers=mapping_layers)
    spec = dataclasses.replace(generator.spec, norm_eps=1e-3)
    first, second = Generator(spec), Generator(GeneratorSpec.from_dict(spec.to_dict()))
    z, labels = torch.randn(N, 5), torch.tensor([0, 5, 23])
    first(z, labels)  # moves BatchNorm's statistics
    second.load_state_dict(first.state_dict())
    assert torch.equal(first.eval()(z, labels), second.eval()(z, labels))
    assert {m.eps for m in first.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)} == {1e-3}
    assert {m.negative_slope for m in first.blocks if isinstance(m, nn.LeakyReLU)} == {0.1}


@pytest.mark.parametrize("upsample", ["transpose", "nearest"])
def test_no_hidden_value_of_the_generator_is_above_its_ceiling(upsample):
    seen = {}
    for ceiling in (0.0, 0.75):
        generator, critic = nets("cgan", 32, 3, upsample=upsample, generator_ceiling=ceiling)
        hooked = [m for m in generator.modules() if isinstance(m, nn.ReLU | nn.Hardtanh)]
        found = []
        for module in hooked:
            module.register_forward_hook(lambda _module, _given, made, found=found: found.append(made.detach().clone()))
        generator.train()(torch.randn(N, 5), torch.tensor([0, 5, 23]))
        assert len(found) == 3
        seen[ceiling] = found
        assert not any(isinstance(m, nn.Hardtanh) for m in critic.modules())
    assert all(values.max() > 0.75 and values.min() == 0 for values in seen[0.0])
    assert all(values.max() == 0.75 and values.min() == 0 for values in seen[0.75])


def test_a_mapping_stands_before_the_first_feature_map():
    generator, _ = nets("cgan", mapping_layers=2, mapping_width=7)
    z, labels = torch.randn(N, 5), torch.tensor([0, 5, 23])
    generator.train()(z, labels)  # moves BatchNorm's statistics
    generator.eval()
    enter, *layers = generator.mapping
    h = enter(torch.cat([z, generator.embed(labels)], dim=1))
    assert torch.equal(generator.mapping[1:](h), h)  # nothing is added at first
    for layer in layers:
        nn.init.normal_(layer.norm.weight)
    for layer in layers:
        h = h + nn.functional.leaky_relu(layer.norm(layer.linear(h)), 0.2)
    x = generator.project(h).view(N, -1, 7, 7)
    wanted = generator.to_image(generator.blocks(generator.act(generator.project_norm(x))))
    assert len(layers) == 2
    assert h.shape == (N, 7)
    torch.testing.assert_close(generator(z, labels), wanted)
    assert nets("cgan")[0].mapping is None


def test_latents_have_the_asked_distribution():
    n = 200_000
    normal = draw_latents(n, 1, "normal", torch.Generator().manual_seed(0))
    uniform = draw_latents(n, 1, "uniform", torch.Generator().manual_seed(0))
    assert normal.dtype == uniform.dtype == torch.float32
    assert abs(normal.mean()) < 0.01
    assert abs(normal.std() - 1) < 0.01
    assert -1 <= uniform.min() < -0.999
    assert 0.999 < uniform.max() <= 1
    assert abs(uniform.std() - 3**-0.5) < 0.005
    again = draw_latents(n, 1, "normal", torch.Generator().manual_seed(0))
    assert torch.equal(normal, again)


@pytest.mark.parametrize("head", ["none", "concat", "projection", "auxiliary"])
@pytest.mark.parametrize("hidden", [0, 7])
def test_the_heads_read_feature_maps_in_the_order_of_their_weights(head, hidden):
    """Channels last is an order in memory: what a critic says is what its weights say of maps in NCHW."""
    classes = 0 if head == "none" else 3
    critic = Critic(CriticSpec(16, 1, classes=classes, label_head=head, width=4, hidden=hidden)).eval()
    images, labels = torch.randn(5, 1, 16, 16), torch.tensor([0, 1, 2, 0, 1]) if classes else None
    got = critic(images, labels)
    if critic.plane is not None:
        images = torch.cat([images, critic.plane(labels).view(5, 1, 16, 16)], 1)
    h = critic.blocks(images).flatten(1)
    if hidden:
        h = nn.functional.leaky_relu(critic.hidden(h), 0.2)
    score = critic.score(h).squeeze(1)
    if critic.projection is not None:
        score = score + (critic.projection(labels) * h).sum(1)
    torch.testing.assert_close(got.score, score, atol=1e-5, rtol=0)
    if critic.classify is not None:
        torch.testing.assert_close(got.class_logits, critic.classify(h), atol=1e-5, rtol=0)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_in_training_the_first_feature_map_lies_as_the_convolutions_weights_do(layout):
    spec = GeneratorSpec(28, 1, latent_dim=8, width=4)
    net = Generator(spec).to(memory_format=layout).train()
    seen = []
    net.project_norm.register_forward_pre_hook(lambda _module, given: seen.append(given[0]))
    net(torch.randn(3, 8))
    assert seen[0].is_contiguous(memory_format=layout)
