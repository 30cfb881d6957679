"""Pictures that nobody has to draw."""

import torch


def pictures(n: int, seed: int) -> torch.Tensor:
    """Grey noise: uint8 (n, 1, 16, 16)."""
    return torch.randint(0, 256, (n, 1, 16, 16), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
