"""The objectives' numbers against closed forms on critics whose gradients are known, and how the loop obeys them."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gan_training.build import build_objective
from gan_training.config import TrainConfig
from gan_training.nets import Critic, CriticOutput
from gan_training.objectives import ACGAN, CGAN, DCGAN, WGAN, Batch, critic_outputs, gradient_norms, interpolate
from gan_training.specs import CriticSpec

N, SHAPE, CLASSES = 7, (1, 4, 4), 5
CLOSE = 1e-5  # relative; float32 sums of a hundred terms
BF16_ROUNDING = 0.02  # relative; a bfloat16 has 8 significant bits, and roundings add up over three layers


class Linear(nn.Module):
    """score = w.x + b, class logits = V x: d score / dx is w for every sample."""

    def __init__(self, classes: int = 0) -> None:
        super().__init__()
        size = int(np.prod(SHAPE))
        self.score, self.classify = nn.Linear(size, 1), nn.Linear(size, classes) if classes else None
        with torch.no_grad():
            self.score.weight.copy_(torch.linspace(-0.7, 1.1, size))

    def forward(self, images: Tensor, _labels: Tensor | None = None) -> CriticOutput:
        flat = images.flatten(1)
        return CriticOutput(self.score(flat).squeeze(1).float(), self.classify(flat).float() if self.classify else None)


def bowl(images: Tensor, _labels: Tensor | None = None) -> CriticOutput:
    """score = |x|^2 / 2: d score / dx is x, another norm for each sample."""
    return CriticOutput(images.flatten(1).square().sum(1) / 2)


def batch(seed: int, labels: bool = False, spread: float = 1.0) -> Batch:
    rng = np.random.default_rng(seed)
    # Norms differ widely between samples, so that a mean over the batch in the wrong place shows.
    x = rng.uniform(-1, 1, (N, *SHAPE)) * np.linspace(1, spread, N).reshape(-1, 1, 1, 1)
    y = torch.from_numpy(rng.integers(0, CLASSES, N)) if labels else None
    return Batch(torch.from_numpy(x.astype(np.float32)), y)


def numbers(module: nn.Linear, x: Batch) -> np.ndarray:
    """The linear map in float64 by NumPy."""
    weight, bias = (p.detach().double().numpy() for p in (module.weight, module.bias))
    return x.images.double().numpy().reshape(N, -1) @ weight.T + bias


def value(scalar: Tensor) -> float:
    return float(scalar.detach())


def softplus(x: np.ndarray) -> np.ndarray:
    return np.logaddexp(0, x)


def cross_entropy(logits: np.ndarray, labels: Tensor) -> float:
    return float(np.mean(np.logaddexp.reduce(logits, axis=1) - logits[np.arange(N), labels.numpy()]))


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


@pytest.mark.parametrize(("lipschitz", "bounded"), [("clip", True), ("gp", False)])
def test_critic_weights_stay_clipped_through_training(make_run, tmp_path, lipschitz, bounded):
    run = make_run("wgan", tmp_path, lipschitz=lipschitz, conditional=True, critic_lr=1e-2)
    for _ in range(3):
        run.trainer.step()
        largest = max(value(p.abs().max()) for p in run.trainer.critic.parameters())
        assert (largest <= 0.01) == bounded
