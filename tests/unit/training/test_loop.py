"""The loop: what one step does to the weights, the average that is sampled from, and starting where it stopped."""

import copy
import io
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from gan_training.loop import LoopSettings, Trainer
from gan_training.nets import CriticOutput
from gan_training.objectives import DCGAN, WGAN, Batch

CLOSE = 1e-6  # absolute; weights are below 1, fused and plain Adam round differently
OBJECTIVES = {
    "dcgan": ("dcgan", {}),
    "dcgan-batchnorm": ("dcgan", {"critic_norm": "batch"}),
    "cgan": ("cgan", {"r1_every": 2, "r1_gamma": 1.0}),
    "acgan": ("acgan", {"auxiliary_weight": 0.5}),
    "all tips": (
        "cgan",
        {
            "soft_labels": 0.1,
            "noisy_labels": 0.05,
            "saturating": True,
            "dropout": 0.2,
            "instance_noise": 0.1,
            "translate": 2,
        },
    ),
    "wgan-gp": ("wgan", {"n_critic": 2, "conditional": True}),
    "wgan-lazy": (
        "wgan",
        {"n_critic": 1, "gp_every": 3, "conditional": True, "conditioned_by": "auxiliary", "lr_half_life": 9},
    ),
    "wgan-clip": ("wgan", {"n_critic": 2, "lipschitz": "clip"}),
}


class Map(nn.Module):
    """Two linear maps; as a critic it gives a CriticOutput."""

    def __init__(self, *, critic: bool) -> None:
        super().__init__()
        self.maps = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1 if critic else 3))
        self.critic = critic

    def forward(self, x: Tensor, _labels: Tensor | None = None) -> CriticOutput | Tensor:
        return CriticOutput(self.maps(x).squeeze(1)) if self.critic else self.maps(x)


def points() -> Iterator[Batch]:
    rng = torch.Generator().manual_seed(5)
    while True:
        yield Batch(torch.randn(16, 3, generator=rng) + 2)


def draw(n: int, rng: torch.Generator) -> Tensor:
    return torch.randn(n, 3, generator=rng)


def weights(net: nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in net.parameters()])


def states_equal(a: object, b: object) -> bool:
    """Whether two nested states agree to the bit."""
    if isinstance(a, Tensor):
        return isinstance(b, Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(states_equal(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(states_equal, a, b))
    return a == b


@pytest.mark.parametrize("half_life", [0, 2])
@pytest.mark.parametrize("kind", ["dcgan", "wgan"])
def test_steps_equal_a_loop_written_out(kind, half_life):
    """Critic steps first, each on new data and new latents; then the generator; Adam with the asked settings."""
    settings = LoopSettings(generator_lr=1e-2, critic_lr=3e-2, betas=(0.5, 0.9), lr_half_life=half_life)
    torch.manual_seed(0)
    nets = Map(critic=False), Map(critic=True)
    objective = DCGAN() if kind == "dcgan" else WGAN(critic_steps=3, lipschitz="clip", clip=0.2)
    trainer = Trainer(*nets, objective, points(), draw, settings, seed=9)
    torch.manual_seed(0)
    generator, critic = Map(critic=False), Map(critic=True)
    assert torch.equal(weights(generator), weights(trainer.generator))
    optimizers = [
        torch.optim.Adam(net.parameters(), lr=lr, betas=(0.5, 0.9)) for net, lr in ((generator, 1e-2), (critic, 3e-2))
    ]
    data, rng, start = points(), torch.Generator().manual_seed(9), weights(generator).clone()
    softplus = nn.functional.softplus
    for step in range(5):
        trainer.step()
        for optimizer, lr in zip(optimizers, (1e-2, 3e-2), strict=True):
            optimizer.param_groups[0]["lr"] = lr / 2 ** (step / half_life) if half_life else lr
        for _ in range(3 if kind == "wgan" else 1):
            real = next(data).images
            fake = generator(draw(16, rng))
            optimizers[1].zero_grad()
            r, f = critic(real).score, critic(fake.detach()).score
            loss = f.mean() - r.mean() if kind == "wgan" else softplus(-r).mean() + softplus(f).mean()
            loss.backward()
            optimizers[1].step()
            if kind == "wgan":
                with torch.no_grad():
                    for p in critic.parameters():
                        p.clamp_(-0.2, 0.2)
        optimizers[0].zero_grad()
        f = critic(fake).score  # the last fakes, once more
        (-f.mean() if kind == "wgan" else softplus(-f).mean()).backward()
        optimizers[0].step()
        torch.testing.assert_close(weights(trainer.generator), weights(generator), atol=CLOSE, rtol=0)
        torch.testing.assert_close(weights(trainer.critic), weights(critic), atol=CLOSE, rtol=0)
    assert (weights(generator) - start).abs().max() > 100 * CLOSE


def test_latents_come_from_the_trainers_seed_alone():
    made = []
    for noise in (1, 2):
        torch.manual_seed(0)
        nets = Map(critic=False), Map(critic=True)
        torch.manual_seed(noise)  # the global state may be anything
        trainer = Trainer(*nets, DCGAN(), points(), draw, LoopSettings(), seed=3)
        trainer.step()
        made.append(weights(trainer.generator))
    assert torch.equal(*made)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("case", OBJECTIVES)
def test_same_seed_same_weights(make_run, tmp_path, case, precision):
    gan_type, settings = OBJECTIVES[case]
    states = []
    for seed in (0, 0, 1):
        run = make_run(gan_type, tmp_path, seed=seed, precision=precision, **settings)
        for _ in range(3):
            run.trainer.step()
        states.append(run.trainer.state_dict())
    assert states_equal(states[0], states[1])
    assert not states_equal(states[0]["generator"], states[2]["generator"])


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("case", OBJECTIVES)
def test_a_state_goes_on_as_if_there_had_been_no_stop(make_run, tmp_path, case, precision):
    gan_type, settings = OBJECTIVES[case]
    straight = make_run(gan_type, tmp_path, precision=precision, **settings)
    for _ in range(6):
        straight.trainer.step()
    stopped = make_run(gan_type, tmp_path, precision=precision, **settings)
    for _ in range(3):
        stopped.trainer.step()
    file = io.BytesIO()
    torch.save((stopped.trainer.state_dict(), stopped.data_batches.state_dict()), file)
    for _ in range(2):
        stopped.trainer.step()  # the state is a file by now: going on doesn't reach it
    resumed = make_run(gan_type, tmp_path, precision=precision, **settings)
    resumed.trainer.step()
    torch.manual_seed(12345)
    file.seek(0)
    trainer, batches = torch.load(file, weights_only=True)
    resumed.trainer.load_state_dict(trainer)
    resumed.data_batches.load_state_dict(batches)
    for _ in range(3):
        resumed.trainer.step()
    assert resumed.trainer.steps_done == 6
    assert states_equal(straight.trainer.state_dict(), resumed.trainer.state_dict())
    assert straight.data_batches.state_dict() == resumed.data_batches.state_dict()


def test_a_classifier_whose_loss_weighs_nothing_goes_on_too(make_run, tmp_path):
    settings = {"n_critic": 1, "conditional": True, "conditioned_by": "auxiliary", "auxiliary_weight": 0.0}
    stopped, resumed = (make_run("wgan", tmp_path, **settings).trainer for _ in range(2))
    stopped.step()
    resumed.load_state_dict(stopped.state_dict())
    assert states_equal(stopped.state_dict(), resumed.state_dict())


def test_moments_that_lie_otherwise_in_memory_are_the_same_moments(make_run, tmp_path):
    """The fused step goes through weights and moments side by side, wherever an older version had them lie."""
    runs = [make_run("dcgan", tmp_path) for _ in range(2)]
    runs[0].trainer.step()
    for run, is_changed in zip(runs, (False, True), strict=True):
        state = copy.deepcopy(runs[0].trainer.state_dict())
        for kept in state["critic_optimizer"]["state"].values():
            if is_changed:
                kept["exp_avg"] = kept["exp_avg"].contiguous()
        run.trainer.load_state_dict(state)
    runs[1].data_batches.load_state_dict(runs[0].data_batches.state_dict())
    for run in runs:
        torch.manual_seed(3)
        run.trainer.step()
    assert states_equal(*(run.trainer.critic.state_dict() for run in runs))


def test_bf16_is_another_computation_on_float32_weights(make_run, tmp_path):
    made = {}
    for precision in ("fp32", "bf16"):
        run = make_run("dcgan", tmp_path, precision=precision)
        parts = run.trainer.step()
        assert all(part.dtype == torch.float32 for name, part in parts.items() if name.endswith("loss"))
        assert {p.dtype for p in run.trainer.generator.parameters()} == {torch.float32}
        made[precision] = weights(run.trainer.generator)
    assert not torch.equal(made["fp32"], made["bf16"])
    torch.testing.assert_close(made["bf16"], made["fp32"], atol=2e-3, rtol=0)


@pytest.mark.parametrize("decay", [0.0, 0.15])
def test_ema_follows_weights_and_batch_norm_statistics(make_run, tmp_path, decay):
    trainer = make_run("dcgan", tmp_path, ema_decay=decay).trainer
    average = {name: value.clone() for name, value in trainer.ema.state_dict().items()}
    start = {name: value.clone() for name, value in average.items()}
    for _ in range(3):
        trainer.step()
        for name, value in trainer.generator.state_dict().items():
            average[name] = decay * average[name] + (1 - decay) * value if value.is_floating_point() else value.clone()
    for name, value in trainer.ema.state_dict().items():
        torch.testing.assert_close(value, average[name], atol=CLOSE, rtol=CLOSE)
    moved = {name.rsplit(".")[-1] for name, value in trainer.ema.state_dict().items() if not value.equal(start[name])}
    assert moved >= {"weight", "bias", "running_mean", "running_var", "num_batches_tracked"}
    assert not any(p.requires_grad for p in trainer.ema.parameters())


def test_a_young_ema_forgets_the_initial_weights(make_run, tmp_path):
    trainer = make_run("dcgan", tmp_path, ema_decay=0.999).trainer
    start = weights(trainer.ema).clone()
    trainer.step()
    # After n steps at most (1 + n) / (10 + n) of the old average stays.
    wanted = 2 / 11 * start + 9 / 11 * weights(trainer.generator)
    torch.testing.assert_close(weights(trainer.ema), wanted, atol=CLOSE, rtol=0)


@pytest.mark.parametrize("gan_type", ["dcgan", "wgan"])
def test_labelled_data_trains_unconditionally(make_run, toy_data, tmp_path, gan_type):
    states = []
    for data in (toy_data(classes=5), toy_data(classes=0)):
        run = make_run(gan_type, tmp_path, data)
        run.trainer.step()
        assert run.class_names == ()
        assert run.generator_spec.classes == run.critic_spec.classes == 0
        states.append(run.trainer.state_dict())
    assert states_equal(*states)


def test_the_generators_step_leaves_the_critic_alone_and_trainable(make_run, tmp_path):
    run = make_run("cgan", tmp_path, critic_lr=0.0)
    before = weights(run.trainer.critic).clone()
    start = weights(run.trainer.generator).clone()
    run.trainer.step()
    assert torch.equal(weights(run.trainer.critic), before)
    assert not torch.equal(weights(run.trainer.generator), start)
    assert all(p.requires_grad for p in run.trainer.critic.parameters())


@pytest.mark.parametrize(
    ("n_critic", "gp_every", "seen"), [(1, 2, "ynyn"), (2, 4, "ynyn"), (2, 2, "yyyy"), (3, 2, "yyyy")]
)
def test_a_penalty_of_any_critic_step_is_told(make_run, tmp_path, n_critic, gp_every, seen):
    run = make_run("wgan", tmp_path, n_critic=n_critic, gp_every=gp_every)
    told = [run.trainer.step() for _ in seen]
    for parts in told:
        assert {"critic_loss", "real_score", "generator_loss"} <= parts.keys()
    for name in ("gradient_penalty", "penalty_loss"):
        assert "".join("y" if name in parts else "n" for parts in told) == seen
