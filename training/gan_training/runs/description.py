"""What will be trained, in words."""

from __future__ import annotations

from torch import nn

from gan_training.config import TrainConfig
from gan_training.loop import Trainer
from gan_training.specs import GeneratorSpec
from gan_training.words import counted


def describe(config: TrainConfig, spec: GeneratorSpec, images: int, trainer: Trainer) -> str:
    """One paragraph for the terminal, for --dry-run and for the report; `images`: of the training set."""
    what = f"{spec.classes} classes" if spec.classes else "no labels"
    steps, world = counted(config.steps, "step"), trainer.parallel.world
    return (
        f"{config.type} on {config.data}: {images:,} images, {spec.image_size}x{spec.image_size}, "
        f"{'grey' if spec.channels == 1 else 'RGB'}, {what}; generator {_size(trainer.generator)} and critic "
        f"{_size(trainer.critic)} parameters; {steps} of {config.batch_size} on {trainer.device}"
        f"{f' in {world} processes' if world > 1 else ''}{' in bf16' if trainer.settings.bf16 else ''}"
    )


def _size(net: nn.Module) -> str:
    return f"{sum(p.numel() for p in net.parameters()):,}"
