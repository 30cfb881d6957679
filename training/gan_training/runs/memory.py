"""Runs that are too large for the machine, told in one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from gan_training.config import TrainConfig

from .outcome import OutOfMemoryError

_WORDS = ("can't allocate memory", "out of memory", "bad_alloc", "could not create a ")
"""Of torch's own RuntimeErrors: for the CPU, for a GPU, of C++, of oneDNN."""


def is_short_of_memory(error: BaseException) -> bool:
    """Whether it says that there was too little."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _WORDS)


@contextmanager
def enough_memory(config: TrainConfig) -> Iterator[None]:
    """Turns what the block says where memory is short into an OutOfMemoryError that names what takes it."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_short_of_memory(error):
            raise
        raise OutOfMemoryError(
            f"not enough memory: batch_size is {config.batch_size}, generator_width {config.generator_width}, "
            f"critic_width {config.critic_width}; give a smaller --batch-size, --set generator_width or critic_width, "
            "or --image-size"
        ) from error
