"""The same nets trained by a plain PyTorch script, written as tutorials write it: what bench/training.py compares with.

float32, NCHW, torch's default Adam, a DataLoader over a TensorDataset, `.item()` on every loss, no EMA. What is usual
stays: DCGAN's two steps share one batch of fakes (less work than drawing anew, as ours does), fakes are detached and
not made under no_grad, and the generator's step computes the critic's gradients too.
"""

from collections.abc import Iterator

import torch
from torch.utils.data import DataLoader, TensorDataset

from gan_training.data import ImageData
from gan_training.nets import Critic, Generator
from gan_training.objectives import Batch, Objective
from gan_training.specs import CriticSpec, GeneratorSpec


def train(
    data: ImageData,
    generator_spec: GeneratorSpec,
    critic_spec: CriticSpec,
    objective: Objective,
    batch_size: int,
    generator_lr: float,
    critic_lr: float,
    betas: tuple[float, float],
    device: torch.device,
) -> Iterator[dict[str, float]]:
    """Trains for ever; each `next` is one generator update with the critic updates before it, and gives its losses."""
    images = data.images.float() / 127.5 - 1  # uint8 (N, C, H, W) -> float in [-1, 1]
    labels = data.labels if data.labels is not None else torch.zeros(len(images), dtype=torch.int64)
    loader = DataLoader(TensorDataset(images, labels), batch_size, shuffle=True, drop_last=True)

    generator = Generator(generator_spec).to(device)
    critic = Critic(critic_spec).to(device)
    optimizer_g = torch.optim.Adam(generator.parameters(), lr=generator_lr, betas=betas)
    optimizer_d = torch.optim.Adam(critic.parameters(), lr=critic_lr, betas=betas)

    step = 0  # critic updates
    while True:
        for real_images, real_labels in loader:
            real_images = real_images.to(device)
            y = real_labels.to(device) if generator_spec.classes else None
            z = torch.randn(batch_size, generator_spec.latent_dim, device=device)
            fake = generator(z, y)

            critic.zero_grad()
            loss_d = objective.critic_loss(critic, Batch(real_images, y), Batch(fake.detach(), y), step)
            loss_d.total.backward()  # type: ignore[no-untyped-call]
            optimizer_d.step()
            objective.constrain(critic)
            losses = {name: value.item() for name, value in loss_d.parts.items()}
            step += 1
            if step % objective.critic_steps:
                continue

            if objective.critic_steps > 1:  # WGAN scripts draw new latents for the generator's step
                z = torch.randn(batch_size, generator_spec.latent_dim, device=device)
                fake = generator(z, y)
            generator.zero_grad()
            loss_g = objective.generator_loss(critic, Batch(fake, y))
            loss_g.total.backward()  # type: ignore[no-untyped-call]
            optimizer_g.step()
            losses["generator_loss"] = loss_g.total.item()
            yield losses
