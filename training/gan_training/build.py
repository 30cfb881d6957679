"""From a run's configuration to what it is made of: the specs of its nets, its objective, the settings of its loop."""

from __future__ import annotations

from typing import Any

from .config import TrainConfig
from .loop import LoopSettings
from .objectives import ACGAN, CGAN, DCGAN, WGAN, Objective
from .specs import CriticSpec, GeneratorSpec, LabelHead


def build_specs(config: TrainConfig, image_size: int, channels: int, classes: int) -> tuple[GeneratorSpec, CriticSpec]:
    """Specs of the two nets for data of this shape; `classes` is ignored by unconditional types."""
    classes = classes if config.is_conditional else 0
    generator = GeneratorSpec(
        image_size=image_size,
        channels=channels,
        latent_dim=config.latent_dim,
        latent=config.latent,
        classes=classes,
        embed_dim=config.embed_dim,
        mapping_layers=config.mapping_layers,
        mapping_width=config.mapping_width,
        width=config.generator_width,
        max_width=config.max_width,
        upsample=config.upsample,
        slope=config.generator_slope,
        ceiling=config.generator_ceiling,
        dropout=config.dropout,
    )
    head: LabelHead = "none"
    if config.is_conditional:
        head = "auxiliary" if config.has_auxiliary else config.conditioned_by
    critic = CriticSpec(
        image_size=image_size,
        channels=channels,
        classes=classes,
        label_head=head,
        width=config.critic_width,
        max_width=config.max_width,
        hidden=config.critic_hidden,
        norm=config.critic_norm,
        slope=config.critic_slope,
    )
    return generator, critic


def build_objective(config: TrainConfig) -> Objective:
    """The objective of the configured type."""
    if config.type == "wgan":
        return WGAN(
            critic_steps=config.n_critic,
            lipschitz=config.lipschitz,
            clip=config.clip,
            gp_weight=config.gp_weight,
            gp_every=config.gp_every,
            drift=config.drift,
            auxiliary_weight=config.auxiliary_weight if config.has_auxiliary else 0.0,
        )
    shared: dict[str, Any] = {
        name: getattr(config, name)
        for name in ("real_target", "soft_labels", "noisy_labels", "saturating", "r1_gamma", "r1_every")
    }
    if config.type == "acgan":
        return ACGAN(**shared, auxiliary_weight=config.auxiliary_weight)
    return (CGAN if config.type == "cgan" else DCGAN)(**shared)


def build_loop_settings(config: TrainConfig, *, bf16: bool) -> LoopSettings:
    """Learning rates and the like; whether bf16 is on was decided by the device."""
    return LoopSettings(
        generator_lr=config.generator_lr,
        critic_lr=config.critic_lr,
        betas=(config.beta1, config.beta2),
        lr_half_life=config.lr_half_life,
        ema_decay=config.ema_decay,
        instance_noise=config.instance_noise,
        instance_noise_steps=config.instance_noise_steps,
        translate=config.translate,
        bf16=bf16,
        cuda_graph=config.cuda_graph,
    )
