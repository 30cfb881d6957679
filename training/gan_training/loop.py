"""The one training loop, for every objective and every pair of nets. It owns the optimisers and the randomness."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from .augment import translated
from .cuda_graph import CudaGraphs, Tensors
from .objectives import Batch, Objective
from .parallel import SINGLE, Parallel

DrawLatents: TypeAlias = Callable[[int, torch.Generator], Tensor]
Parts: TypeAlias = dict[str, Tensor]


class MissingMomentsError(ValueError):
    """A state whose optimisers have not stepped all of their weights, though steps were done."""


@dataclass(frozen=True)
class LoopSettings:
    """How the two nets are updated."""

    generator_lr: float = 2e-4
    critic_lr: float = 2e-4
    betas: tuple[float, float] = (0.5, 0.999)  # Adam
    lr_half_life: int = 0  # generator steps in which both learning rates halve; 0: they stay
    ema_decay: float = 0.998  # per generator step; 0 leaves the EMA equal to the generator
    instance_noise: float = 0.0  # standard deviation of what is added to all images that the critic sees, at first
    instance_noise_steps: int = 2000  # generator steps until it has faded to nothing
    translate: int = 0  # pixels that all images the critic sees are shifted by at most
    bf16: bool = False  # autocast to bfloat16; losses and penalties stay float32
    cuda_graph: bool = True  # on a GPU, and in one process: record a step's work once and replay it


class Trainer:
    """Alternates critic and generator updates; `step` is one generator update with the critic steps before it.

    Args:
        generator: called as `generator(z, labels)`.
        critic: called as `critic(images, labels)`, returns a CriticOutput.
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
        self.generator: nn.Module = generator.to(self.device).to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
        self.critic: nn.Module = critic.to(self.device).to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
        self.ema: nn.Module = copy.deepcopy(self.generator).requires_grad_(False)
        self.parallel = parallel
        for net in (self.generator, self.critic):
            parallel.shared(net)
        self._averaged, self._current = _by_kind(self.ema), _by_kind(self.generator)
        self.objective, self.settings = objective, settings
        self.batches, self.draw_latents = batches, draw_latents
        self.generator_optimizer = self._adam(self.generator, settings.generator_lr)
        self.critic_optimizer = self._adam(self.critic, settings.critic_lr)
        is_replayed = self.device.type == "cuda" and settings.cuda_graph and parallel.world == 1
        self.graphs = CudaGraphs(self.device) if is_replayed else None
        self.rng = torch.Generator().manual_seed(seed)
        self.noise = torch.zeros((), device=self.device)  # standard deviation of the instance noise at this step
        self.steps_done = 0  # generator updates

    def step(self) -> Parts:
        """One generator update; returns the losses and accuracies as detached scalars, still on the device."""
        self._set_learning_rates()
        is_noisy = self._set_noise()
        critic_steps = self.objective.critic_steps
        penalised = tuple(self.objective.is_penalised(self.steps_done * critic_steps + i) for i in range(critic_steps))
        drawn = [tensor for _ in range(critic_steps) for tensor in self._draw()]

        def work(tensors: Tensors) -> Parts:
            return self._updates(tensors, is_noisy)

        if self.graphs is None:
            parts = work([tensor.to(self.device) for tensor in drawn])
        else:  # the same work where no more than this differs
            parts = self.graphs((penalised, is_noisy), drawn, work)
        self.steps_done += 1
        self._update_ema()
        return self.parallel.average(parts)

    def _draw(self) -> Tensors:
        """What one critic step needs from the CPU: real images, latents, and the images' labels if there are any."""
        real = next(self.batches)
        z = self.parallel.own(self.draw_latents(len(real.images) * self.parallel.world, self.rng))
        return [real.images, z, *([] if real.labels is None else [real.labels])]

    def _updates(self, drawn: Tensors, is_noisy: bool) -> Parts:
        """The critic's updates and the generator's. It reads nothing from the device, so that a graph can hold it."""
        parts: Parts = {}
        critic_steps = self.objective.critic_steps
        each = len(drawn) // critic_steps
        for i in range(critic_steps):
            images, z, *labels = drawn[i * each : (i + 1) * each]
            if images.dim() == 4:
                images = images.contiguous(memory_format=torch.channels_last)
            real = Batch(images, labels[0] if labels else None)
            # The last fakes serve the generator's step too, which saves a forward pass (Radford's code does so).
            # They have the real batch's labels: the same class frequencies, whatever the data's are.
            with torch.set_grad_enabled(i == critic_steps - 1), self._autocast():
                fake = Batch(self.generator(z, real.labels), real.labels)
            # The last step's parts, and the penalties of those before it where that one takes none.
            parts |= self._critic_step(real, fake, self.steps_done * critic_steps + i, is_noisy)
        return parts | self._generator_step(fake, is_noisy)

    def _set_learning_rates(self) -> None:
        """A function of the step alone, so that the length of a run may change when it is resumed."""
        settings = self.settings
        if settings.lr_half_life:
            share = 0.5 ** (self.steps_done / settings.lr_half_life)
            _set_lr(self.generator_optimizer.param_groups[0], settings.generator_lr * share)
            _set_lr(self.critic_optimizer.param_groups[0], settings.critic_lr * share)

    def _set_noise(self) -> bool:
        """Whether there is instance noise at this step (Sonderby et al., 2016, arXiv:1610.04490); it fades linearly."""
        left = 1 - self.steps_done / self.settings.instance_noise_steps
        is_noisy = self.settings.instance_noise > 0 and left > 0
        if is_noisy:
            self.noise.fill_(self.settings.instance_noise * left)
        return is_noisy

    def _critic_step(self, real: Batch, fake: Batch, step: int, is_noisy: bool) -> Parts:
        fake = Batch(fake.images.detach(), fake.labels)
        real, fake = self._as_seen(real, is_noisy), self._as_seen(fake, is_noisy)
        self.critic_optimizer.zero_grad(set_to_none=True)
        with self._autocast():
            loss = self.objective.critic_loss(self.critic, real, fake, step, self.parallel.rand_like)
        loss.total.backward()  # type: ignore[no-untyped-call]
        self.parallel.average_gradients(self.critic)
        self.critic_optimizer.step()
        self.objective.constrain(self.critic)
        return loss.parts

    def _generator_step(self, fake: Batch, is_noisy: bool) -> Parts:
        self.critic.requires_grad_(False)
        self.generator_optimizer.zero_grad(set_to_none=True)
        with self._autocast():
            loss = self.objective.generator_loss(self.critic, self._as_seen(fake, is_noisy))
        loss.total.backward()  # type: ignore[no-untyped-call]
        self.parallel.average_gradients(self.generator)
        self.generator_optimizer.step()
        self.critic.requires_grad_(True)
        return loss.parts

    def _as_seen(self, batch: Batch, is_noisy: bool) -> Batch:
        """What the critic is shown of a batch."""
        images = batch.images
        if self.settings.translate:
            images = translated(images, self.settings.translate, self.parallel.rand_like)
        if is_noisy:
            images = images + self.parallel.randn_like(images) * self.noise
        return Batch(images, batch.labels)

    @torch.no_grad()
    def _update_ema(self) -> None:
        """Move the EMA towards the generator, BatchNorm's running statistics with it, so that they fit its weights."""
        # A young average would be mostly initial weights: the decay grows with the steps (as in TensorFlow's EMA).
        decay = min(self.settings.ema_decay, (1 + self.steps_done) / (10 + self.steps_done))
        torch._foreach_lerp_(self._averaged[True], self._current[True], 1 - decay)
        if self._averaged[False]:
            torch._foreach_copy_(self._averaged[False], self._current[False])

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.settings.bf16)

    def _adam(self, net: nn.Module, lr: float) -> torch.optim.Adam:
        if self.device.type != "cuda":
            return torch.optim.Adam(net.parameters(), lr=lr, betas=self.settings.betas, fused=True)
        on_device = torch.tensor(lr, device=self.device)  # where a recorded step finds it changed
        return torch.optim.Adam(net.parameters(), lr=on_device, betas=self.settings.betas, fused=True, capturable=True)

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next step depends on, but for the order of the data (the batches' own state)."""
        return {
            "generator": self.generator.state_dict(),
            "critic": self.critic.state_dict(),
            "ema": self.ema.state_dict(),
            "generator_optimizer": _optimizer_state(self.generator_optimizer),
            "critic_optimizer": _optimizer_state(self.critic_optimizer),
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
        for optimizer, name in (
            (self.generator_optimizer, "generator_optimizer"),
            (self.critic_optimizer, "critic_optimizer"),
        ):
            _load_optimizer(optimizer, state[name], has_stepped=state["steps_done"] > 0)
        if self.graphs is not None:
            self.graphs = CudaGraphs(self.device)  # the optimisers' state lies elsewhere now
        self.rng.set_state(state["rng"])
        torch.set_rng_state(state["torch_rng"])
        if state["cuda_rng"]:
            torch.cuda.set_rng_state(state["cuda_rng"][0], self.device)
        self.steps_done = state["steps_done"]


def _by_kind(net: nn.Module) -> dict[bool, list[Tensor]]:
    """Parameters and buffers: under True those of floating-point numbers, under False the others (counters)."""
    tensors = [*net.parameters(), *net.buffers()]
    return {kind: [tensor for tensor in tensors if tensor.is_floating_point() == kind] for kind in (True, False)}


def _set_lr(group: dict[str, Any], lr: float) -> None:
    if isinstance(group["lr"], Tensor):
        group["lr"].fill_(lr)
    else:
        group["lr"] = lr


def _optimizer_state(optimizer: torch.optim.Adam) -> dict[str, Any]:
    """Its state with learning rates as numbers, the same on every device."""
    state = optimizer.state_dict()
    return state | {"param_groups": [group | {"lr": float(group["lr"])} for group in state["param_groups"]]}


@torch.no_grad()
def _load_optimizer(optimizer: torch.optim.Adam, state: dict[str, Any], *, has_stepped: bool) -> None:
    """Moments and settings of `state`, but what the device asks for stays.

    Raises MissingMomentsError where weights have none though the optimiser `has_stepped` (Adam would start anew for
    them), and ValueError for a moment without the other and for those that are not as large as their weights: the
    fused step takes them to be, and to lie in memory as the weights do, and would read and write elsewhere.
    """
    own = [{name: group[name] for name in ("lr", "capturable")} for group in optimizer.param_groups]
    groups = [
        saved | {"capturable": group["capturable"]} for saved, group in zip(state["param_groups"], own, strict=True)
    ]
    optimizer.load_state_dict(state | {"param_groups": groups})
    for group, before, saved in zip(optimizer.param_groups, own, groups, strict=True):
        group["lr"] = before["lr"]
        _set_lr(group, saved["lr"])
    weights = sum(len(group["params"]) for group in optimizer.param_groups)
    if has_stepped and len(optimizer.state) < weights:
        raise MissingMomentsError(f"an optimiser keeps moments of {len(optimizer.state)} of its {weights} weights")
    moments = {"exp_avg", "exp_avg_sq"}
    for weight, kept in optimizer.state.items():
        if kept.keys() != moments | {"step"}:
            raise ValueError(f"what is kept of weights {tuple(weight.shape)} is {', '.join(sorted(kept))}")
        for name in moments:
            if kept[name].shape != weight.shape:
                raise ValueError(f"{name} of weights {tuple(weight.shape)} has the shape {tuple(kept[name].shape)}")
            kept[name] = torch.empty_like(weight).copy_(kept[name])
