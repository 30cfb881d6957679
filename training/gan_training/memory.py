"""Runs that are too large for the machine, told in one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from .config import TrainConfig
from .outcome import OutOfMemoryError

_WORDS = ("can't allocate memory", "out of memory")  # of torch's own RuntimeErrors, for the CPU and for a GPU


@contextmanager
def enough_memory(config: TrainConfig) -> Iterator[None]:
    """Turns what the block says where memory is short into an OutOfMemoryError that names what takes it."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        is_short = isinstance(error, MemoryError | torch.OutOfMemoryError) or any(
            words in str(error) for words in _WORDS
        )
        if not is_short:
            raise
        raise OutOfMemoryError(
            f"not enough memory: batch_size is {config.batch_size}, generator_width {config.generator_width}, "
            f"critic_width {config.critic_width}; give a smaller --batch-size, --set generator_width or critic_width, "
            "or --image-size"
        ) from error
