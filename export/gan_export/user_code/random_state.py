"""The state of the random numbers of PyTorch, NumPy and Python, which the code of other people draws."""

from __future__ import annotations

import contextlib
import pickle
import random
from collections.abc import Iterator

import numpy as np
import torch


@contextlib.contextmanager
def random_state(seed: int) -> Iterator[None]:
    """All three begin with a seed, PyTorch's on GPUs too; afterwards they are as before, but for those of GPUs."""
    states = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        try:
            torch.manual_seed(seed)
            np.random.seed(seed)
            random.seed(seed)
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])


def fingerprint() -> tuple[object, ...]:
    """Another one as soon as a number was drawn, or a seed set."""
    numpy_state = pickle.dumps(np.random.get_state())
    return torch.get_rng_state().numpy().tobytes(), numpy_state, random.getstate()
