"""The four objectives. One interface, no loop inside: the loop asks for losses and never for the type.

An objective says what critic and generator minimise, how many critic steps go before one generator step, and what
keeps the critic in bounds after its step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .nets import CriticOutput

Lipschitz = Literal["clip", "gp"]
CriticFn: TypeAlias = Callable[[Tensor, Tensor | None], CriticOutput]
RandLike: TypeAlias = Callable[[Tensor], Tensor]
"""(N, ...) -> as many uniform numbers on [0, 1): torch.rand_like, or what several processes use in its place."""


class Batch(NamedTuple):
    """Images, real or generated, with the labels they have or were asked for."""

    images: Tensor  # (N, ...) in [-1, 1]
    labels: Tensor | None = None  # (N,) int64


class Loss(NamedTuple):
    """What to minimise, and the parts that a person wants to see."""

    total: Tensor  # scalar
    parts: dict[str, Tensor]  # detached scalars


@dataclass(frozen=True)
class DCGAN:
    """Non-saturating GAN loss, binary cross-entropy on logits (Goodfellow et al., 2014, arXiv:1406.2661).

    With `r1_gamma` > 0, adds gamma/2 * |dD(x)/dx|^2 on real images (Mescheder et al., 2018, arXiv:1801.04406), every
    `r1_every` critic steps with its weight scaled accordingly (StyleGAN2's lazy regularisation).
    """

    critic_steps: int = 1
    real_target: float = 1.0  # below 1: one-sided label smoothing (Salimans et al., 2016)
    soft_labels: float = 0.0  # targets are drawn from a range of this width, next to 1 and next to 0
    noisy_labels: float = 0.0  # share of real and of fake images whose target is the other one's
    saturating: bool = False  # the generator minimises log(1 - D) instead of -log D
    r1_gamma: float = 0.0
    r1_every: int = 8

    def is_penalised(self, step: int) -> bool:
        """Whether the gradient penalty is part of the critic's loss at this step."""
        return self.r1_gamma > 0 and step % self.r1_every == 0

    def critic_loss(
        self, critic: CriticFn, real: Batch, fake: Batch, step: int, rand_like: RandLike = torch.rand_like
    ) -> Loss:
        """What the critic minimises at critic step `step`, from 0; `rand_like` draws targets."""
        on_real, on_fake = critic_outputs(critic, real, fake)
        loss = _bce(on_real.score, self._targets(on_real.score, self.real_target, rand_like))
        loss = loss + _bce(on_fake.score, self._targets(on_fake.score, 0.0, rand_like))
        parts = {
            "critic_loss": loss.detach(),
            "real_accuracy": (on_real.score > 0).float().mean(),
            "fake_accuracy": (on_fake.score < 0).float().mean(),
        }
        loss = loss + self._class_term(on_real, real.labels, "real", parts)
        loss = loss + self._class_term(on_fake, fake.labels, "fake", parts)
        if self.is_penalised(step):
            penalty = gradient_norms(critic, real).square().mean()
            parts["r1"] = penalty.detach()
            loss = loss + 0.5 * self.r1_gamma * self.r1_every * penalty
        return Loss(loss, parts)

    def generator_loss(self, critic: CriticFn, fake: Batch) -> Loss:
        """What the generator minimises; `fake` carries gradients back to it."""
        on_fake = critic(*fake)
        # Non-saturating: fake images with the targets of real ones. Saturating: the critic's own loss, turned round.
        loss = -_bce(on_fake.score, 0.0) if self.saturating else _bce(on_fake.score, 1.0)
        parts = {"generator_loss": loss.detach()}
        return Loss(loss + self._class_term(on_fake, fake.labels, "generator", parts), parts)

    def constrain(self, critic: nn.Module) -> None:
        """Nothing: the critic of this loss needs no bound."""

    def _targets(self, scores: Tensor, target: float, rand_like: RandLike = torch.rand_like) -> Tensor:
        """(N,) what the critic is to say: `target`, softened towards the other side, some of them swapped."""
        targets = torch.full_like(scores, target)
        if self.soft_labels:
            towards = -1.0 if target > 0.5 else 1.0
            targets = targets + towards * self.soft_labels * rand_like(targets)
        if self.noisy_labels:
            targets = torch.where(rand_like(targets) < self.noisy_labels, 1 - targets, targets)
        return targets

    def _class_term(
        self, output: CriticOutput, labels: Tensor | None, where: str, parts: dict[str, Tensor]
    ) -> Tensor | float:
        """What an auxiliary classifier adds; nothing here."""
        return 0.0


class CGAN(DCGAN):
    """The same loss where both nets see the label (Mirza & Osindero, 2014, arXiv:1411.1784)."""


@dataclass(frozen=True)
class ACGAN(DCGAN):
    """The critic also classifies, by cross-entropy on real and on fake (Odena et al., 2017, arXiv:1610.09585)."""

    auxiliary_weight: float = 1.0

    def _class_term(
        self, output: CriticOutput, labels: Tensor | None, where: str, parts: dict[str, Tensor]
    ) -> Tensor | float:
        return _auxiliary_loss(self.auxiliary_weight, output, labels, where, parts)


@dataclass(frozen=True)
class WGAN:
    """Wasserstein loss: mean score of fake minus mean score of real (Arjovsky et al., 2017, arXiv:1701.07875).

    The critic is kept Lipschitz by clipping its weights to [-clip, clip], or by a penalty on gradient norms away
    from 1 between real and fake images (Gulrajani et al., 2017, arXiv:1704.00028).
    """

    critic_steps: int = 5
    lipschitz: Lipschitz = "gp"
    clip: float = 0.01
    gp_weight: float = 10.0
    gp_every: int = 1  # critic steps between two penalties, each weighted accordingly (as StyleGAN2 does with R1)
    drift: float = 0.0  # weight of the mean squared real score, which keeps scores near zero (ProGAN)
    auxiliary_weight: float = 0.0  # of ACGAN's class loss, for a critic that classifies (Gulrajani does so)

    def is_penalised(self, step: int) -> bool:
        """Whether the gradient penalty is part of the critic's loss at this step."""
        return self.lipschitz == "gp" and self.gp_weight > 0 and step % self.gp_every == 0

    def critic_loss(
        self, critic: CriticFn, real: Batch, fake: Batch, step: int, rand_like: RandLike = torch.rand_like
    ) -> Loss:
        """What the critic minimises at critic step `step`, from 0; `rand_like` draws the points of the penalty."""
        on_real, on_fake = critic_outputs(critic, real, fake)
        real_score, fake_score = on_real.score, on_fake.score
        loss = fake_score.mean() - real_score.mean()
        parts = {
            "critic_loss": loss.detach(),
            "real_score": real_score.mean().detach(),
            "fake_score": fake_score.mean().detach(),
        }
        if self.is_penalised(step):
            penalty = (gradient_norms(critic, interpolate(real, fake, rand_like)) - 1).square().mean()
            parts["gradient_penalty"] = penalty.detach()
            parts["penalty_loss"] = self.gp_weight * penalty.detach()
            loss = loss + self.gp_weight * self.gp_every * penalty
        if self.drift:
            loss = loss + self.drift * real_score.square().mean()
        if on_real.class_logits is not None:  # also for a weight of 0: an optimiser has moments of all weights
            loss = loss + _auxiliary_loss(self.auxiliary_weight, on_real, real.labels, "real", parts)
            loss = loss + _auxiliary_loss(self.auxiliary_weight, on_fake, fake.labels, "fake", parts)
        return Loss(loss, parts)

    def generator_loss(self, critic: CriticFn, fake: Batch) -> Loss:
        """What the generator minimises; `fake` carries gradients back to it."""
        on_fake = critic(*fake)
        loss = -on_fake.score.mean()
        parts = {"generator_loss": loss.detach()}
        if on_fake.class_logits is not None:
            loss = loss + _auxiliary_loss(self.auxiliary_weight, on_fake, fake.labels, "generator", parts)
        return Loss(loss, parts)

    @torch.no_grad()
    def constrain(self, critic: nn.Module) -> None:
        """Clip every weight after the critic's step, if this critic is kept Lipschitz by clipping."""
        if self.lipschitz == "clip":
            for weight in critic.parameters():
                weight.clamp_(-self.clip, self.clip)


Objective: TypeAlias = DCGAN | WGAN


def critic_outputs(critic: CriticFn, real: Batch, fake: Batch) -> tuple[CriticOutput, CriticOutput]:
    """What the critic says of both: in one call, which is faster, if it says that it doesn't mix the images of a batch.

    With BatchNorm they are two calls, real and fake images each with statistics of their own (as Radford's code does).
    """
    if getattr(critic, "mixes_batch", True):
        return critic(*real), critic(*fake)
    images = torch.cat([real.images.to(fake.images.dtype), fake.images])
    labels = None if real.labels is None or fake.labels is None else torch.cat([real.labels, fake.labels])
    both = critic(images, labels)
    sizes = [len(real.images), len(fake.images)]
    scores = torch.split(both.score, sizes)
    if both.class_logits is None:
        return CriticOutput(scores[0]), CriticOutput(scores[1])
    logits = torch.split(both.class_logits, sizes)
    return CriticOutput(scores[0], logits[0]), CriticOutput(scores[1], logits[1])


def interpolate(real: Batch, fake: Batch, rand_like: RandLike = torch.rand_like) -> Batch:
    """A random point on the line between each real image and its fake partner, with the real one's label."""
    one_each = (len(real.images), *[1] * (real.images.dim() - 1))
    share = rand_like(real.images.new_empty(one_each, dtype=torch.float32))
    return Batch(torch.lerp(real.images.float(), fake.images.float(), share), real.labels)


def gradient_norms(critic: CriticFn, batch: Batch) -> Tensor:
    """(N,) Euclidean norm of d score / d image for each sample.

    Under autocast the critic computes as it does elsewhere, and the norm is taken in float32. With bfloat16, norms were
    0.4 % off on average; the gradient of the penalty had float32's direction (cosine 1.000) and 1.003 times its length.
    """
    images = batch.images.detach().float().requires_grad_(True)
    score = critic(images, batch.labels).score
    (gradient,) = torch.autograd.grad(score.sum(), images, create_graph=True)
    # The square root's own gradient at zero is infinite; a dead critic must not turn into NaN.
    return (gradient.flatten(1).square().sum(1) + 1e-12).sqrt()


def _auxiliary_loss(
    weight: float, output: CriticOutput, labels: Tensor | None, where: str, parts: dict[str, Tensor]
) -> Tensor:
    """Scalar: cross-entropy of the critic's classes; tells loss and accuracy in `parts`."""
    if output.class_logits is None or labels is None:
        raise ValueError("the class loss needs labels and a critic with an auxiliary classifier")
    loss = F.cross_entropy(output.class_logits, labels)
    parts[f"{where}_class_loss"] = loss.detach()
    parts[f"{where}_class_accuracy"] = (output.class_logits.argmax(1) == labels).float().mean()
    return weight * loss


def _bce(logits: Tensor, target: Tensor | float) -> Tensor:
    targets = target if isinstance(target, Tensor) else torch.full_like(logits, target)
    return F.binary_cross_entropy_with_logits(logits, targets)
