"""Whether weights of a file are those of a net, found out before the net takes any memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn


def check_state_fits(build: Callable[[], nn.Module], state: Mapping[str, Tensor], name: str) -> None:
    """Compare names and shapes with those of a net without numbers: what a spec says may be far more than a file holds.

    Args:
        build: makes the net; called with PyTorch's device `meta` as the default.
        state: a state dict.
        name: of these weights, for the message.

    Raises:
        ValueError: names the first key that is missing, not expected or of another shape.
    """
    with torch.device("meta"):
        expected = {key: tuple(value.shape) for key, value in build().state_dict().items()}
    for key, shape in expected.items():
        if key not in state:
            raise ValueError(f"its {name} weights have no {key}")
        if tuple(state[key].shape) != shape:
            raise ValueError(f"{key} of its {name} weights has shape {tuple(state[key].shape)}, not {shape}")
    extra = [key for key in state if key not in expected]
    if extra:
        raise ValueError(f"its {name} weights have {str(extra[0])[:80]!r}, which the net doesn't")
