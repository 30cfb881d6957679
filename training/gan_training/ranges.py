"""From where to where each setting that is a number may go."""

from __future__ import annotations

from typing import Final

RANGES: Final[dict[str, tuple[float, float]]] = {
    "steps": (1, 100_000_000),
    "minutes": (0.001, 1e6),
    "batch_size": (2, 65536),
    "seed": (0, 2**53 - 1),
    "latent_dim": (1, 4096),
    "latent_scale": (0.1, 10),
    "generator_width": (1, 2048),
    "critic_width": (1, 2048),
    "max_width": (1, 8192),
    "critic_hidden": (0, 8192),
    "embed_dim": (1, 4096),
    "mapping_layers": (0, 16),
    "mapping_width": (1, 4096),
    "generator_slope": (0, 1),
    "generator_ceiling": (0, 1000),
    "critic_slope": (0, 1),
    "generator_lr": (0, 1),
    "critic_lr": (0, 1),
    "lr_half_life": (0, 100_000_000),
    "beta1": (0, 0.9999),
    "beta2": (0, 0.99999),
    "ema_decay": (0, 0.999999),
    "dropout": (0, 0.9),
    "instance_noise": (0, 10),
    "instance_noise_steps": (1, 100_000_000),
    "translate": (0, 32),
    "real_target": (0.5, 1),
    "soft_labels": (0, 0.5),
    "noisy_labels": (0, 0.5),
    "r1_gamma": (0, 1e6),
    "r1_every": (1, 1000),
    "auxiliary_weight": (0, 1000),
    "n_critic": (1, 100),
    "clip": (1e-6, 10),
    "gp_weight": (0, 1e6),
    "gp_every": (1, 1000),
    "drift": (0, 1e6),
    "checkpoint_every": (1, 100_000_000),
    "sample_every": (1, 100_000_000),
    "log_every": (1, 100_000_000),
    "watch_every": (0, 100_000_000),
    "evaluate_every": (0, 100_000_000),
}


def out_of_range(name: str, value: float) -> str:
    """What is wrong with a setting's value; empty if nothing is."""
    low, high = RANGES[name]
    return "" if low <= value <= high else f"{name} is {_short(value)}; it must be from {low:g} to {_bound(high)}"


def _bound(value: float) -> str:
    """In digits, and short where that loses nothing."""
    if value >= 1e6:
        return f"{value:,.0f}"
    return f"{value:g}" if float(f"{value:g}") == value else str(value)


def _short(value: float) -> str:
    text = str(value)
    return text if len(text) <= 30 else f"{text[:30]}..."
