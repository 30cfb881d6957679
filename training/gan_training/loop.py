"""The one training loop, for every objective and every pair of nets. It owns the optimisers and the randomness."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from .objectives import Batch, Objective
from .parallel import SINGLE, Parallel

DrawLatents: TypeAlias = Callable[[int, torch.Generator], Tensor]
Parts: TypeAlias = dict[str, Tensor]


@dataclass(frozen=True)
class LoopSettings:
    """How the two nets are updated."""

    generator_lr: float = 2e-4
    critic_lr: float = 2e-4
    betas: tuple[float, float] = (0.5, 0.999)  # Adam
    lr_half_life: int = 0  # generator steps in which both learning rates halve; 0: they stay
    ema_decay: float = 0.999  # per generator step; 0 leaves the EMA equal to the generator
    instance_noise: float = 0.0  # standard deviation of what is added to all images that the critic sees, at first
    instance_noise_steps: int = 2000  # generator steps until it has faded to nothing
    bf16: bool = False  # autocast to bfloat16; losses and penalties stay float32


class Trainer:
    """Alternates critic and generator updates; `step` is one generator update with the critic steps before it.

    Args:
        generator: called as `generator(z, labels)`.
        critic: called as `critic(images, labels)`, returns a Verdict.
        objective: says what both minimise.
        batches: endless batches of real samples.
        draw_latents: `(n, rng) -> (n, latent_dim)` float32 on the CPU.
        settings: learning rates and the like.
        seed: fixes the latents; what objectives and nets draw comes from torch's global state, which is saved too.
        device: where both nets are.
        parallel: the processes that share each batch; `batches` gives the rows of this one.
    """

    def __init__(
        self,
        generator: nn.Module,
        critic: nn.Module,
        objective: Objective,
        batches: Iterator[Batch],
        draw_latents: DrawLatents,
        settings: LoopSettings,
        *,
        seed: int = 0,
        device: str | torch.device = "cpu",
        parallel: Parallel = SINGLE,
    ) -> None:
        self.device = torch.device(device)
        # channels_last is what CPU and CUDA convolution kernels read fastest; it changes no value.
        self.generator = generator.to(self.device).to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
        self.critic = critic.to(self.device).to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
        self.ema = copy.deepcopy(self.generator).requires_grad_(False)
        self.parallel = parallel
        for net in (self.generator, self.critic):
            parallel.shared(net)
        self.objective, self.batches, self.draw_latents, self.settings = (
            objective,
            batches,
            draw_latents,
            settings,
        )
        self.generator_optimizer = self._adam(self.generator, settings.generator_lr)
        self.critic_optimizer = self._adam(self.critic, settings.critic_lr)
        self.rng = torch.Generator().manual_seed(seed)
        self.steps_done = 0  # generator updates

    def step(self) -> Parts:
        """One generator update; returns the losses and accuracies as detached scalars, still on the device."""
        parts: Parts = {}
        self._set_learning_rates()
        critic_steps = self.objective.critic_steps
        for i in range(critic_steps):
            real = self._to_device(next(self.batches))
            # The last fakes serve the generator's step too, which saves a forward pass (Radford's code does so).
            # They have the real batch's labels: the same class frequencies, whatever the data's are.
            with torch.set_grad_enabled(i == critic_steps - 1):
                fake = self._generate(len(real.images), real.labels)
            parts = self._critic_step(real, fake, self.steps_done * critic_steps + i)
        parts |= self._generator_step(fake)
        self.steps_done += 1
        self._update_ema()
        return self.parallel.average(parts)

    def _set_learning_rates(self) -> None:
        """A function of the step alone, so that the length of a run may change when it is resumed."""
        settings = self.settings
        if settings.lr_half_life:
            share = 0.5 ** (self.steps_done / settings.lr_half_life)
            self.generator_optimizer.param_groups[0]["lr"] = settings.generator_lr * share
            self.critic_optimizer.param_groups[0]["lr"] = settings.critic_lr * share

    def _critic_step(self, real: Batch, fake: Batch, step: int) -> Parts:
        real, fake = self._blurred(real), self._blurred(Batch(fake.images.detach(), fake.labels))
        self.critic_optimizer.zero_grad(set_to_none=True)
        with self._autocast():
            loss = self.objective.critic_loss(self.critic, real, fake, step, self.parallel.rand_like)
        loss.total.backward()  # type: ignore[no-untyped-call]
        self.parallel.average_gradients(self.critic)
        self.critic_optimizer.step()
        self.objective.constrain(self.critic)
        return loss.parts

    def _generator_step(self, fake: Batch) -> Parts:
        self.critic.requires_grad_(False)
        self.generator_optimizer.zero_grad(set_to_none=True)
        with self._autocast():
            loss = self.objective.generator_loss(self.critic, self._blurred(fake))
        loss.total.backward()  # type: ignore[no-untyped-call]
        self.parallel.average_gradients(self.generator)
        self.generator_optimizer.step()
        self.critic.requires_grad_(True)
        return loss.parts

    def _generate(self, n: int, labels: Tensor | None) -> Batch:
        z = self.parallel.own(self.draw_latents(n * self.parallel.world, self.rng)).to(self.device)
        with self._autocast():
            return Batch(self.generator(z, labels), labels)

    def _blurred(self, batch: Batch) -> Batch:
        """With instance noise (Sonderby et al., 2016, arXiv:1610.04490), which fades in a straight line."""
        left = 1 - self.steps_done / self.settings.instance_noise_steps
        if not self.settings.instance_noise or left <= 0:
            return batch
        noise = self.parallel.randn_like(batch.images) * (self.settings.instance_noise * left)
        return Batch(batch.images + noise, batch.labels)

    @torch.no_grad()
    def _update_ema(self) -> None:
        """Move the EMA towards the generator, BatchNorm's running statistics with it, so that they fit its weights."""
        # A young average would be mostly initial weights: the decay grows with the steps (as in TensorFlow's EMA).
        decay = min(self.settings.ema_decay, (1 + self.steps_done) / (10 + self.steps_done))
        averaged, current = list(_state(self.ema)), list(_state(self.generator))
        floats = [i for i, value in enumerate(current) if value.is_floating_point()]
        torch._foreach_lerp_([averaged[i] for i in floats], [current[i] for i in floats], 1 - decay)
        for i in set(range(len(current))) - set(floats):
            averaged[i].copy_(current[i])

    def _to_device(self, batch: Batch) -> Batch:
        images = batch.images.to(self.device)
        if images.dim() == 4:
            images = images.contiguous(memory_format=torch.channels_last)
        return Batch(images, None if batch.labels is None else batch.labels.to(self.device))

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.settings.bf16)

    def _adam(self, net: nn.Module, lr: float) -> torch.optim.Adam:
        return torch.optim.Adam(net.parameters(), lr=lr, betas=self.settings.betas, fused=True)

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next step depends on, but for the order of the data (the batches' own state)."""
        return {
            "generator": self.generator.state_dict(),
            "critic": self.critic.state_dict(),
            "ema": self.ema.state_dict(),
            "generator_optimizer": self.generator_optimizer.state_dict(),
            "critic_optimizer": self.critic_optimizer.state_dict(),
            "rng": self.rng.get_state(),
            "torch_rng": torch.get_rng_state(),
            "cuda_rng": [torch.cuda.get_rng_state(self.device)] if self.device.type == "cuda" else [],
            "steps_done": self.steps_done,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict` as if there had been no stop."""
        self.generator.load_state_dict(state["generator"])
        self.critic.load_state_dict(state["critic"])
        self.ema.load_state_dict(state["ema"])
        self.generator_optimizer.load_state_dict(state["generator_optimizer"])
        self.critic_optimizer.load_state_dict(state["critic_optimizer"])
        self.rng.set_state(state["rng"])
        torch.set_rng_state(state["torch_rng"])
        if state["cuda_rng"]:
            torch.cuda.set_rng_state(state["cuda_rng"][0], self.device)
        self.steps_done = state["steps_done"]


def _state(net: nn.Module) -> Iterator[Tensor]:
    yield from net.parameters()
    yield from net.buffers()
