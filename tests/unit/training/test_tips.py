"""The usual list of GAN tips, each as an option that does what its name says."""

import numpy as np
import pytest
import torch
from torch import Tensor

from gan_training.build import build_specs
from gan_training.config import TrainConfig
from gan_training.nets import CriticOutput, Generator
from gan_training.objectives import DCGAN, Batch

N = 4000
CLOSE = 1e-5
SAMPLING = 0.03  # error of a mean over N draws
SCORE = 0.7


def constant(images: Tensor, _labels: Tensor | None = None) -> CriticOutput:
    """A critic that scores every image alike: the loss is then linear in the mean target."""
    return CriticOutput(torch.full((len(images),), SCORE))


def critic_loss(objective: DCGAN) -> float:
    images = Batch(torch.zeros(N, 1, 4, 4))
    return float(objective.critic_loss(constant, images, images, step=1).total)


def bce(target: float) -> float:
    return float(np.logaddexp(0, SCORE) - target * SCORE)


@pytest.mark.parametrize("width", [0.1, 0.3])
def test_soft_labels_are_drawn_from_a_range_beside_the_hard_ones(width: float) -> None:
    expected = bce(1 - width / 2) + bce(width / 2)
    assert critic_loss(DCGAN(soft_labels=width)) == pytest.approx(expected, abs=SAMPLING * width)
    assert critic_loss(DCGAN()) == pytest.approx(bce(1) + bce(0), rel=CLOSE)
    targets = DCGAN(soft_labels=width)._targets(torch.zeros(N), 1.0)
    assert 1 - width <= float(targets.min()) < float(targets.max()) <= 1
    assert float(DCGAN(soft_labels=width)._targets(torch.zeros(N), 0.0).min()) >= 0


@pytest.mark.parametrize("share", [0.05, 0.25])
def test_noisy_labels_swap_that_share_of_targets(share: float) -> None:
    targets = DCGAN(noisy_labels=share)._targets(torch.zeros(N), 1.0)
    assert set(targets.tolist()) == {0.0, 1.0}
    assert float((targets == 0).float().mean()) == pytest.approx(share, abs=SAMPLING)


def test_the_saturating_generator_maximises_the_critics_loss_on_fakes() -> None:
    fake = Batch(torch.zeros(N, 1, 4, 4))
    assert float(DCGAN().generator_loss(constant, fake).total) == pytest.approx(bce(1), rel=CLOSE)
    assert float(DCGAN(saturating=True).generator_loss(constant, fake).total) == pytest.approx(-bce(0), rel=CLOSE)


def test_dropout_is_on_in_training_and_off_in_eval() -> None:
    spec, _ = build_specs(TrainConfig.for_type("cgan", "toy", dropout=0.5, generator_width=8), 28, 1, 3)
    assert spec.dropout == 0.5
    net, z, label = Generator(spec), torch.randn(4, spec.latent_dim), torch.tensor([0, 1, 2, 0])
    with torch.no_grad():
        assert not torch.equal(net.train()(z, label), net(z, label))
        assert torch.equal(net.eval()(z, label), net(z, label))


def test_instance_noise_reaches_real_and_fake_images_and_fades(make_run, tmp_path) -> None:
    run = make_run("dcgan", tmp_path, instance_noise=0.5, instance_noise_steps=4)
    clean = Batch(torch.zeros(N, 1, 4, 4), torch.zeros(N, dtype=torch.int64))
    for step, expected in ((0, 0.5), (1, 0.375), (2, 0.25), (4, 0.0), (9, 0.0)):
        run.trainer.steps_done = step
        noisy = run.trainer._as_seen(clean, run.trainer._set_noise())
        assert float(noisy.images.std()) == pytest.approx(expected, abs=SAMPLING)
        assert noisy.labels is clean.labels

    seen: list[Tensor] = []
    run.trainer.steps_done = 0
    run.trainer.critic.register_forward_pre_hook(lambda _module, arguments: seen.append(arguments[0]))
    run.trainer.step()
    assert len(seen) >= 3, "real and fake for the critic, fake for the generator"
    for images in seen[:3]:
        assert float(images.detach().abs().max()) > 1, "images without noise are in [-1, 1]"


@pytest.mark.parametrize("latent", ["normal", "uniform"])
def test_latents_of_training_may_be_narrower_than_those_of_samples(make_run, tmp_path, latent) -> None:
    drawn = [
        make_run("dcgan", tmp_path / str(scale), latent=latent, latent_scale=scale).trainer.draw_latents(
            N, torch.Generator().manual_seed(0)
        )
        for scale in (1.0, 0.5)
    ]
    assert torch.equal(drawn[1], drawn[0] * 0.5)
    assert float(drawn[0].std()) == pytest.approx(1 if latent == "normal" else 3**-0.5, abs=SAMPLING)
