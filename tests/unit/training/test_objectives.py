"""The objectives' numbers against closed forms on critics whose gradients are known, and how the loop obeys them."""

import numpy as np
import pytest
import torch
from critics import CLASSES, Linear, batch, bowl, cross_entropy, numbers, softplus, value

from gan_training.build import build_objective
from gan_training.config import TrainConfig
from gan_training.nets import Critic
from gan_training.objectives import ACGAN, CGAN, DCGAN, WGAN, Batch, critic_outputs
from gan_training.specs import CriticSpec

CLOSE = 1e-5  # relative; float32 sums of a hundred terms


@pytest.mark.parametrize("objective", [DCGAN, CGAN])
@pytest.mark.parametrize("target", [1.0, 0.9, 0.5])
def test_dcgan_is_binary_cross_entropy_with_one_sided_smoothing(objective, target):
    critic, real, fake = Linear(), batch(0), batch(1)
    r, f = numbers(critic.score, real), numbers(critic.score, fake)
    loss = objective(real_target=target).critic_loss(critic, real, fake, 0)
    wanted = np.mean(target * softplus(-r) + (1 - target) * softplus(r)) + np.mean(softplus(f))
    assert value(loss.total) == pytest.approx(wanted, rel=CLOSE)
    assert float(loss.parts["critic_loss"]) == pytest.approx(wanted, rel=CLOSE)
    assert float(loss.parts["real_accuracy"]) == pytest.approx(np.mean(r > 0))
    assert float(loss.parts["fake_accuracy"]) == pytest.approx(np.mean(f < 0))
    # Non-saturating, and never smoothed.
    generator = objective(real_target=target).generator_loss(critic, fake)
    assert value(generator.total) == pytest.approx(np.mean(softplus(-f)), rel=CLOSE)
    assert not any(part.requires_grad for part in (loss.parts | generator.parts).values())


@pytest.mark.parametrize("gamma", [0.5, 10.0])
@pytest.mark.parametrize("every", [1, 3, 8])
def test_r1_is_lazy_and_scaled_by_its_interval(gamma, every):
    critic, real, fake = Linear(), batch(0), batch(1)
    plain = value(DCGAN().critic_loss(critic, real, fake, 0).total)
    squared_norm = value(critic.score.weight.double().square().sum())
    for step in range(2 * every + 2):
        loss = DCGAN(r1_gamma=gamma, r1_every=every).critic_loss(critic, real, fake, step)
        assert ("r1" in loss.parts) == (step % every == 0)
        added = gamma / 2 * every * squared_norm if step % every == 0 else 0.0
        assert value(loss.total) == pytest.approx(plain + added, rel=CLOSE)


def test_r1_is_a_mean_over_samples_of_real_images_and_trains_the_critic():
    real, fake = batch(0, spread=9), batch(1)
    parts = DCGAN(r1_gamma=1).critic_loss(bowl, real, fake, 0).parts
    wanted = real.images.double().flatten(1).square().sum(1).mean()
    assert float(parts["r1"]) == pytest.approx(float(wanted), rel=CLOSE)
    critic = Linear()
    without, with_r1 = (
        torch.autograd.grad(DCGAN(r1_gamma=g, r1_every=4).critic_loss(critic, real, fake, 0).total, critic.score.weight)
        for g in (0.0, 0.3)
    )
    # d/dw of gamma/2 * every * |w|^2
    torch.testing.assert_close(with_r1[0] - without[0], 0.3 * 4 * critic.score.weight, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("weight", [1.0, 0.25, 0.0])
def test_acgan_classifies_real_and_fake(weight):
    torch.manual_seed(0)
    critic, real, fake = Linear(CLASSES), batch(0, labels=True), batch(1, labels=True)
    on_real, on_fake = (cross_entropy(numbers(critic.classify, x), x.labels) for x in (real, fake))
    assert on_real != pytest.approx(on_fake, rel=0.01)
    objective, without = ACGAN(auxiliary_weight=weight), DCGAN()
    loss, source = (o.critic_loss(critic, real, fake, 0) for o in (objective, without))
    assert value(loss.total - source.total) == pytest.approx(weight * (on_real + on_fake), rel=CLOSE, abs=1e-6)
    assert float(loss.parts["real_class_loss"]) == pytest.approx(on_real, rel=CLOSE)
    assert float(loss.parts["fake_class_loss"]) == pytest.approx(on_fake, rel=CLOSE)
    right = (numbers(critic.classify, real).argmax(1) == real.labels.numpy()).mean()
    assert float(loss.parts["real_class_accuracy"]) == pytest.approx(right)
    made, plain = (o.generator_loss(critic, fake) for o in (objective, without))
    assert value(made.total - plain.total) == pytest.approx(weight * on_fake, rel=CLOSE, abs=1e-6)


def test_acgan_without_labels_or_classifier_is_refused():
    for critic, labels in ((Linear(CLASSES), False), (Linear(), True)):
        with pytest.raises(ValueError, match="class loss needs labels"):
            ACGAN().critic_loss(critic, batch(0, labels), batch(1, labels), 0)


@pytest.mark.parametrize("drift", [0.0, 0.5])
def test_wgan_is_mean_fake_minus_mean_real(drift):
    critic, real, fake = Linear(), batch(0), batch(1)
    r, f = numbers(critic.score, real), numbers(critic.score, fake)
    loss = WGAN(lipschitz="clip", drift=drift).critic_loss(critic, real, fake, 0)
    assert float(loss.parts["critic_loss"]) == pytest.approx(f.mean() - r.mean(), rel=CLOSE)
    assert value(loss.total) == pytest.approx(f.mean() - r.mean() + drift * np.mean(r**2), rel=CLOSE)
    assert value(WGAN().generator_loss(critic, fake).total) == pytest.approx(-f.mean(), rel=CLOSE)


@pytest.mark.parametrize("weight", [0.5, 2.0])
def test_wgan_with_a_class_loss_adds_what_acgan_adds(weight):
    torch.manual_seed(0)
    critic = Critic(CriticSpec(16, 1, classes=3, label_head="auxiliary", width=8))
    real, fake = (Batch(torch.rand(12, 1, 16, 16) * 2 - 1, torch.arange(12) % 3) for _ in range(2))
    objective, without = WGAN(auxiliary_weight=weight, lipschitz="clip"), WGAN(lipschitz="clip")
    cross_entropy = [
        torch.nn.functional.cross_entropy(critic(*images).class_logits, images.labels) for images in (real, fake)
    ]
    added = objective.critic_loss(critic, real, fake, 0).total - without.critic_loss(critic, real, fake, 0).total
    torch.testing.assert_close(added, weight * sum(cross_entropy), rtol=1e-4, atol=1e-5)
    loss = objective.generator_loss(critic, fake)
    torch.testing.assert_close(
        loss.total - without.generator_loss(critic, fake).total, weight * cross_entropy[1], rtol=1e-4, atol=1e-5
    )
    assert 0 <= float(loss.parts["generator_class_accuracy"]) <= 1
    with pytest.raises(ValueError, match="class loss needs labels"):
        objective.critic_loss(critic, Batch(real.images), fake, 0)


@pytest.mark.parametrize("head", ["none", "concat", "projection", "auxiliary"])
@pytest.mark.parametrize("norm", ["none", "spectral", "batch"])
def test_real_and_fake_in_one_call_are_judged_as_in_two(head, norm):
    torch.manual_seed(0)
    critic = Critic(
        CriticSpec(16, 1, width=8, classes=CLASSES if head != "none" else 0, label_head=head, norm=norm, hidden=6)
    )
    critic.train(norm != "spectral")  # in training, each call moves its estimate of the largest singular value
    rng = torch.Generator().manual_seed(1)
    real, fake = (
        Batch(torch.rand(n, 1, 16, 16, generator=rng) * 2 - 1, torch.randint(CLASSES, (n,), generator=rng))
        for n in (5, 3)
    )
    apart = [critic(*real), critic(*fake)]
    for one, wanted, other in zip(critic_outputs(critic, real, fake), apart, reversed(apart), strict=True):
        assert one.score.shape == wanted.score.shape != other.score.shape
        torch.testing.assert_close(one.score, wanted.score, rtol=CLOSE, atol=1e-6)
        assert (one.class_logits is None) == (head != "auxiliary")
        if one.class_logits is not None:
            torch.testing.assert_close(one.class_logits, wanted.class_logits, rtol=CLOSE, atol=1e-6)


@pytest.mark.parametrize(("norm", "calls"), [("none", [8]), ("spectral", [8]), ("batch", [5, 3])])
def test_only_a_critic_with_batch_norm_sees_real_and_fake_apart(norm, calls):
    critic = Critic(CriticSpec(16, 1, width=8, norm=norm))
    seen = []
    critic.register_forward_pre_hook(lambda _module, given: seen.append(len(given[0])))
    critic_outputs(critic, Batch(torch.zeros(5, 1, 16, 16)), Batch(torch.zeros(3, 1, 16, 16)))
    assert seen == calls


@pytest.mark.parametrize(
    ("gan_type", "settings", "wanted"),
    [
        ("dcgan", {"real_target": 0.9, "r1_gamma": 0.0}, DCGAN(real_target=0.9)),
        ("cgan", {"r1_gamma": 2.0, "r1_every": 4}, CGAN(r1_gamma=2.0, r1_every=4)),
        ("acgan", {"auxiliary_weight": 0.5, "r1_gamma": 0.0}, ACGAN(auxiliary_weight=0.5)),
        (
            "wgan",
            {"n_critic": 3, "lipschitz": "clip", "clip": 0.2, "drift": 0.1},
            WGAN(critic_steps=3, lipschitz="clip", clip=0.2, drift=0.1),
        ),
        ("wgan", {"gp_weight": 7.0}, WGAN(gp_weight=7.0)),
        ("wgan", {"gp_every": 4, "conditional": True}, WGAN(gp_every=4)),  # nobody classifies
        (
            "wgan",
            {"conditional": True, "conditioned_by": "auxiliary", "auxiliary_weight": 0.5},
            WGAN(auxiliary_weight=0.5),
        ),
    ],
)
def test_config_builds_its_types_objective(gan_type, settings, wanted):
    built = build_objective(TrainConfig.for_type(gan_type, "toy", **settings))
    assert type(built) is type(wanted)
    assert built == wanted


@pytest.mark.parametrize(
    ("gan_type", "settings", "critic_steps"),
    [
        ("dcgan", {}, 1),
        ("cgan", {}, 1),
        ("acgan", {}, 1),
        ("wgan", {}, 5),
        ("wgan", {"n_critic": 1}, 1),
        ("wgan", {"n_critic": 3, "lipschitz": "clip"}, 3),
    ],
)
def test_the_loop_feeds_the_critic_as_often_as_asked(make_run, tmp_path, gan_type, settings, critic_steps):
    run = make_run(gan_type, tmp_path, **settings)
    for step in range(1, 4):
        run.trainer.step()
        taken = (
            run.data_batches.epoch * run.data_batches.batches_per_epoch * 8 + run.data_batches.state_dict()["position"]
        )
        assert taken == step * critic_steps * 8
        updates = {int(state["step"]) for state in run.trainer.critic_optimizer.state.values()}
        assert updates == {step * critic_steps}
        updates = {int(state["step"]) for state in run.trainer.generator_optimizer.state.values()}
        assert updates == {step}
