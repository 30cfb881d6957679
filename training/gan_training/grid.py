"""Sample grids: a generator's images from fixed latents as one picture."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from .nets import draw_latents
from .specs import GeneratorSpec

MARGIN = 2  # pixels between images
PER_CLASS = 8
MOST_CLASSES = 100  # in a grid, evenly spread
UNCONDITIONAL = (8, 8)  # rows, columns
CHUNK = 256  # images generated at once


class NonFiniteImagesError(ValueError):
    """A generator gave NaN or infinity, which as a pixel would look like any other number."""


class FixedSamples:
    """The same latents (and one row of labels for each class) again and again, so that grids can be compared.

    Of more classes than MOST_CLASSES, so many evenly spread ones have a row.
    """

    def __init__(self, spec: GeneratorSpec, seed: int) -> None:
        rng = torch.Generator().manual_seed(seed)
        shown = torch.linspace(0, spec.classes - 1, min(spec.classes, MOST_CLASSES)).round().long()  # classes
        rows, self.columns = (len(shown), PER_CLASS) if spec.classes else UNCONDITIONAL
        # One row's latents serve every class, so that a column shows one style.
        distinct = self.columns if spec.classes else rows * self.columns
        z = draw_latents(distinct, spec.latent_dim, spec.latent, rng)
        self.z = z.repeat(rows, 1) if spec.classes else z  # (rows * columns, latent_dim)
        self.labels = shown.repeat_interleave(self.columns) if spec.classes else None

    def draw(self, generator: nn.Module) -> tuple[Tensor, Image.Image]:
        """What `generator` makes of the fixed latents: uint8 (N, C, H, W) and as a grid; its mode is put back."""
        images = images_of(generator, self._parts())
        return images, grid(images, self.columns)

    def _parts(self) -> Iterator[tuple[Tensor, Tensor | None]]:
        for start in range(0, len(self.z), CHUNK):
            rows = slice(start, start + CHUNK)
            yield self.z[rows], None if self.labels is None else self.labels[rows]


@torch.no_grad()
def images_of(generator: nn.Module, parts: Iterable[tuple[Tensor, Tensor | None]]) -> Tensor:
    """uint8 (N, C, H, W) of latents and labels, a part at a time, in eval mode; its own mode is put back."""
    device = next(generator.parameters()).device
    was_training = generator.training
    generator.eval()
    try:
        return torch.cat(
            [to_uint8(generator(z.to(device), None if labels is None else labels.to(device))) for z, labels in parts]
        )
    finally:
        generator.train(was_training)


def to_uint8(images: Tensor) -> Tensor:
    """[-1, 1] float -> 0..255 uint8, rounded half to even as in the exported graph.

    Raises:
        NonFiniteImagesError: a number is NaN or infinite.
    """
    if not images.isfinite().all():
        raise NonFiniteImagesError("the generator's images are not finite")
    return ((images.detach().float().cpu() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def grid(images: Tensor, columns: int) -> Image.Image:
    """(N, C, H, W) uint8 -> one picture with `columns` images in a row on a white ground."""
    n, channels, height, width = images.shape
    rows = -(-n // columns)
    sheet = np.full((rows * (height + MARGIN) + MARGIN, columns * (width + MARGIN) + MARGIN, channels), 255, np.uint8)
    for i, image in enumerate(images.permute(0, 2, 3, 1).numpy()):
        top = MARGIN + (i // columns) * (height + MARGIN)
        left = MARGIN + (i % columns) * (width + MARGIN)
        sheet[top : top + height, left : left + width] = image
    return Image.fromarray(sheet[:, :, 0] if channels == 1 else sheet)


def pairs(samples: Tensor, neighbours: Tensor, columns: int = 8) -> Image.Image:
    """(N, C, H, W) uint8 samples, and right of each its (N, C, H, W) neighbour; `columns` images in a row."""
    return grid(torch.stack([samples, neighbours], 1).flatten(0, 1), columns)
