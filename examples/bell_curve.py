"""A one-dimensional GAN, from uniform noise to a normal distribution, on the same loop (ganworks[train] and scipy)."""

import argparse
from collections.abc import Iterator
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from scipy.stats import kstest, norm
from torch import Tensor, nn

from gan_training.loop import LoopSettings, Trainer
from gan_training.nets import CriticOutput, draw_latents
from gan_training.objectives import DCGAN, Batch

MEAN, STD = 4.0, 1.25  # of the distribution to learn
BATCH = 256


def three_linear_maps(width: int, act: type[nn.Module]) -> nn.Sequential:
    return nn.Sequential(nn.Linear(1, width), act(), nn.Linear(width, width), act(), nn.Linear(width, 1))


class Generator(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.maps = three_linear_maps(16, nn.Tanh)

    def forward(self, z: Tensor, _label: None = None) -> Tensor:
        samples: Tensor = self.maps(z)  # (N, 1) -> (N, 1)
        return samples


class Discriminator(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.maps = three_linear_maps(32, nn.ELU)

    def forward(self, x: Tensor, _label: None = None) -> CriticOutput:
        return CriticOutput(self.maps(x).squeeze(1))  # (N, 1) -> (N,)


def real_samples(rng: torch.Generator) -> Iterator[Batch]:
    while True:
        yield Batch(MEAN + STD * torch.randn(BATCH, 1, generator=rng))


def train(steps: int, seed: int = 0) -> nn.Module:
    """The averaged generator after `steps` steps."""
    torch.manual_seed(seed)
    settings = LoopSettings(generator_lr=1e-3, critic_lr=4e-3, betas=(0.5, 0.99), ema_decay=0.999)
    batches = real_samples(torch.Generator().manual_seed(seed + 1))
    objective = DCGAN(r1_gamma=0.02, r1_every=1)
    draw = lambda n, rng: draw_latents(n, 1, "uniform", rng)  # noqa: E731
    trainer = Trainer(Generator(), Discriminator(), objective, batches, draw, settings, seed=seed)
    for _ in range(steps):
        trainer.step()
    return trainer.ema


def sample(generator: nn.Module, n: int, seed: int = 0) -> np.ndarray:
    with torch.no_grad():
        drawn: torch.Tensor = generator(draw_latents(n, 1, "uniform", torch.Generator().manual_seed(seed)))
    return drawn.squeeze(1).numpy()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--out", type=Path, default=Path("bell_curve.png"))
    options = parser.parse_args()
    drawn, grid = sample(train(options.steps), 20_000), np.linspace(MEAN - 4 * STD, MEAN + 4 * STD, 400)
    plt.hist(drawn, bins=100, density=True, alpha=0.6, label=f"generated: {drawn.mean():.2f} ± {drawn.std():.2f}")
    plt.plot(grid, norm.pdf(grid, MEAN, STD), label=f"real: {MEAN} ± {STD}")
    plt.title(f"Kolmogorov-Smirnov distance {kstest(drawn, norm(MEAN, STD).cdf).statistic:.3f}")
    plt.legend()
    plt.savefig(options.out)
    print(f"{options.out}: mean {drawn.mean():.3f}, standard deviation {drawn.std():.3f}")
