"""Critics whose losses and gradients are known, and their numbers by NumPy."""

import numpy as np
import torch
from torch import Tensor, nn

from gan_training.nets import CriticOutput
from gan_training.objectives import Batch

N, SHAPE, CLASSES = 7, (1, 4, 4), 5


class Linear(nn.Module):
    """score = w.x + b, class logits = V x: d score / dx is w for every sample."""

    def __init__(self, classes: int = 0) -> None:
        super().__init__()
        size = int(np.prod(SHAPE))
        self.score, self.classify = nn.Linear(size, 1), nn.Linear(size, classes) if classes else None
        with torch.no_grad():
            self.score.weight.copy_(torch.linspace(-0.7, 1.1, size))

    def forward(self, images: Tensor, _labels: Tensor | None = None) -> CriticOutput:
        flat = images.flatten(1)
        return CriticOutput(self.score(flat).squeeze(1).float(), self.classify(flat).float() if self.classify else None)


def bowl(images: Tensor, _labels: Tensor | None = None) -> CriticOutput:
    """score = |x|^2 / 2: d score / dx is x, another norm for each sample."""
    return CriticOutput(images.flatten(1).square().sum(1) / 2)


def batch(seed: int, labels: bool = False, spread: float = 1.0) -> Batch:
    rng = np.random.default_rng(seed)
    # Norms differ widely between samples, so that a mean over the batch in the wrong place shows.
    x = rng.uniform(-1, 1, (N, *SHAPE)) * np.linspace(1, spread, N).reshape(-1, 1, 1, 1)
    y = torch.from_numpy(rng.integers(0, CLASSES, N)) if labels else None
    return Batch(torch.from_numpy(x.astype(np.float32)), y)


def numbers(module: nn.Linear, x: Batch) -> np.ndarray:
    """The linear map in float64 by NumPy."""
    weight, bias = (p.detach().double().numpy() for p in (module.weight, module.bias))
    return x.images.double().numpy().reshape(N, -1) @ weight.T + bias


def value(scalar: Tensor) -> float:
    return float(scalar.detach())


def softplus(x: np.ndarray) -> np.ndarray:
    return np.logaddexp(0, x)


def cross_entropy(logits: np.ndarray, labels: Tensor) -> float:
    return float(np.mean(np.logaddexp.reduce(logits, axis=1) - logits[np.arange(N), labels.numpy()]))
