"""What keeps a critic Lipschitz: the gradient penalty, on which line and how often, and clipping."""

import pytest
import torch
from critics import CLASSES, Linear, N, batch, bowl, value
from torch import nn

from gan_training.build import build_objective
from gan_training.config import TrainConfig
from gan_training.nets import Critic
from gan_training.objectives import ACGAN, CGAN, DCGAN, WGAN, Batch, gradient_norms, interpolate
from gan_training.specs import CriticSpec

CLOSE = 1e-5  # relative; float32 sums of a hundred terms
BF16_ROUNDING = 0.02  # relative; a bfloat16 has 8 significant bits, and roundings add up over three layers


@pytest.mark.parametrize("weight", [10.0, 0.1])
def test_gradient_penalty_of_a_linear_critic(weight):
    critic, real, fake = Linear(), batch(0), batch(1)
    norm = value(critic.score.weight.double().norm())
    loss = WGAN(gp_weight=weight).critic_loss(critic, real, fake, 0)
    assert float(loss.parts["gradient_penalty"]) == pytest.approx((norm - 1) ** 2, rel=CLOSE)
    assert float(loss.parts["penalty_loss"]) == pytest.approx(weight * (norm - 1) ** 2, rel=CLOSE)
    added = value(loss.total - loss.parts["critic_loss"])
    assert added == pytest.approx(weight * (norm - 1) ** 2, rel=1e-4)
    (slope,) = torch.autograd.grad(loss.total, critic.score.weight)
    plain = WGAN(lipschitz="clip").critic_loss(critic, real, fake, 0).total
    (base,) = torch.autograd.grad(plain, critic.score.weight)
    # d/dw of weight * (|w| - 1)^2
    wanted = weight * 2 * (norm - 1) / norm * critic.score.weight
    torch.testing.assert_close(slope - base, wanted, rtol=1e-4, atol=1e-5)


def test_a_lazy_gradient_penalty_comes_every_few_steps_and_counts_for_all_of_them():
    critic, real, fake = Linear(), batch(0), batch(1)
    (slope,) = torch.autograd.grad(WGAN(gp_weight=8.0).critic_loss(critic, real, fake, 0).total, critic.score.weight)
    lazy = WGAN(gp_weight=2.0, gp_every=4)
    found = [lazy.critic_loss(critic, real, fake, step) for step in range(9)]
    assert ["gradient_penalty" in loss.parts for loss in found] == [step in (0, 4, 8) for step in range(9)]
    (lazy_slope,) = torch.autograd.grad(found[4].total, critic.score.weight)
    torch.testing.assert_close(lazy_slope, slope)
    assert value(found[5].total) == pytest.approx(float(found[5].parts["critic_loss"]), rel=CLOSE)


def test_the_penalty_is_taken_on_the_line_from_a_real_image_to_its_fake_partner():
    real, fake = batch(0, labels=True), batch(1, labels=True)
    drawn = iter([torch.linspace(0, 1, N)])
    found = interpolate(real, fake, lambda like: next(drawn).reshape(like.shape))
    share = torch.linspace(0, 1, N).reshape(N, 1, 1, 1)
    torch.testing.assert_close(found.images, (1 - share) * real.images + share * fake.images)
    assert torch.equal(found.labels, real.labels)
    quarter = WGAN().critic_loss(bowl, real, fake, 0, lambda like: torch.full_like(like, 0.75)).parts
    norms = (0.25 * real.images + 0.75 * fake.images).double().flatten(1).norm(dim=1)
    assert float(quarter["gradient_penalty"]) == pytest.approx(float((norms - 1).square().mean()), rel=CLOSE)


def test_gradient_penalty_is_per_sample():
    real = batch(0, spread=9)
    norms = real.images.double().flatten(1).norm(dim=1)
    assert norms.max() > 3 * norms.min()
    torch.testing.assert_close(gradient_norms(bowl, real).double(), norms, rtol=CLOSE, atol=0)
    # Real and fake are the same points, and so is every point between them.
    parts = WGAN().critic_loss(bowl, real, real, 0).parts
    assert float(parts["gradient_penalty"]) == pytest.approx(float((norms - 1).square().mean()), rel=CLOSE)


def test_under_bfloat16_autocast_the_penalty_is_float32s_but_for_rounding():
    torch.manual_seed(0)
    critic = Critic(CriticSpec(16, 1, width=16, hidden=32))
    real, fake = (Batch(torch.rand(64, 1, 16, 16) * 2 - 1) for _ in range(2))
    with torch.no_grad():  # a young critic's gradients are next to nothing
        critic.score.weight.mul_(600)
    found = {}
    for precision in ("fp32", "bf16"):
        critic.zero_grad()
        torch.manual_seed(1)  # of the points between real and fake
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16"):
            norms = gradient_norms(critic, real)
            loss = WGAN().critic_loss(critic, real, fake, 0)
        assert norms.dtype == loss.total.dtype == torch.float32
        loss.total.backward()
        gradient = torch.cat([p.grad.flatten() for p in critic.parameters() if p.grad is not None])
        found[precision] = norms.detach(), float(loss.parts["gradient_penalty"]), gradient
    exact, rounded = found["fp32"], found["bf16"]
    assert not torch.equal(exact[0], rounded[0])  # else autocast reached nothing
    assert float(exact[0].mean()) > 0.1
    # In the mean: a unit next to zero may end up on the other side, and change one sample's gradient more.
    assert float((rounded[0] / exact[0] - 1).abs().mean()) < BF16_ROUNDING
    assert rounded[1] == pytest.approx(exact[1], rel=BF16_ROUNDING)
    assert float(torch.cosine_similarity(exact[2], rounded[2], dim=0)) > 1 - BF16_ROUNDING


def test_a_dead_critic_has_a_finite_penalty_gradient():
    critic = Linear()
    nn.init.zeros_(critic.score.weight)
    loss = WGAN().critic_loss(critic, batch(0), batch(1), 0)
    loss.total.backward()
    assert critic.score.weight.grad.isfinite().all()


def test_interpolation_has_one_random_share_per_sample_and_the_real_labels():
    torch.manual_seed(0)
    real, fake = batch(0, labels=True), batch(1, labels=True)
    between = interpolate(real, fake)
    share = ((between.images - real.images) / (fake.images - real.images)).flatten(1)
    assert torch.equal(between.labels, real.labels)
    torch.testing.assert_close(share, share[:, :1].expand_as(share), rtol=0, atol=1e-3)
    assert len(share[:, 0].unique()) == N
    assert -1e-3 < share.min() < share.max() < 1 + 1e-3
    assert not torch.equal(between.images, interpolate(real, fake).images)


def test_only_clipping_touches_weights_and_bounds_them_all():
    clip = 0.05
    for objective in (WGAN(lipschitz="clip", clip=clip), WGAN(clip=clip), DCGAN(), CGAN(), ACGAN()):
        critic = Linear(CLASSES)
        before = [p.detach().clone() for p in critic.parameters()]
        objective.constrain(critic)
        for old, new in zip(before, critic.parameters(), strict=True):
            clips = objective == WGAN(lipschitz="clip", clip=clip)
            assert torch.equal(new, old.clamp(-clip, clip) if clips else old)
        assert any((old.abs() > clip).any() for old in before)


@pytest.mark.parametrize(("lipschitz", "penalised"), [("gp", True), ("clip", False)])
def test_lipschitz_selects_penalty_or_clipping(lipschitz, penalised):
    objective = build_objective(TrainConfig.for_type("wgan", "toy", lipschitz=lipschitz))
    parts = objective.critic_loss(Linear(), batch(0), batch(1), 0).parts
    assert ("gradient_penalty" in parts) == penalised


def test_a_penalty_of_weight_0_is_not_computed():
    """It would cost as much as any, and an infinite one times 0 is no number."""
    assert not WGAN(gp_weight=0.0).is_penalised(0)
    loss = WGAN(gp_weight=0.0).critic_loss(Linear(), batch(0), batch(1), 0)
    assert set(loss.parts) == {"critic_loss", "real_score", "fake_score"}
    assert loss.total.item() == loss.parts["critic_loss"].item()


@pytest.mark.parametrize(("lipschitz", "bounded"), [("clip", True), ("gp", False)])
def test_critic_weights_stay_clipped_through_training(make_run, tmp_path, lipschitz, bounded):
    run = make_run("wgan", tmp_path, lipschitz=lipschitz, conditional=True, critic_lr=1e-2)
    for _ in range(3):
        run.trainer.step()
        largest = max(value(p.abs().max()) for p in run.trainer.critic.parameters())
        assert (largest <= 0.01) == bounded
