"""Endless training batches in an order that a checkpoint can describe with two numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from .image_data import ImageData


class EpochBatches(Iterator[tuple[torch.Tensor, torch.Tensor | None]]):
    """Batches of `data`, epoch after epoch, each epoch in its own shuffled order.

    Gives `(images, labels)`: float32 (B, C, H, W) in [-1, 1], and int64 (B,), or None without labels. The
    order is a function of (seed, epoch) alone: no global random state is read or changed. What is left over
    at the end of an epoch, less than a batch, is dropped; the next epoch shuffles it back in. When the whole
    set is smaller than a batch, an epoch is one batch that goes round the set until it's full.
    """

    def __init__(self, data: ImageData, batch_size: int, seed: int, rows: slice = slice(None)) -> None:
        """`batch_size`: images, at least 1. `seed`: at least 0. Raises `ValueError` outside these ranges.

        `rows`: which of a batch to give, where several processes share it; epochs and positions stay those of all.
        """
        if batch_size < 1:
            raise ValueError(f"batch size {batch_size} must be at least 1")
        if seed < 0:
            raise ValueError(f"seed {seed} must be at least 0")
        if len(data) == 0:
            raise ValueError("the data holds no image")
        # NumPy, on the calling thread: an operation of torch on a batch this small is split over its thread
        # pool and then waits for it, which on a busy machine was measured at 100 times the work itself.
        self._pixels = data.images.numpy()
        self._labels = None if data.labels is None else data.labels.numpy()
        self._batch_size = batch_size
        self._seed = seed
        self._rows = rows
        self._epoch = 0
        self._position = 0
        self._order = self._shuffled()

    @property
    def epoch(self) -> int:
        """Epochs that are complete."""
        return self._epoch

    @property
    def batches_per_epoch(self) -> int:
        return max(1, len(self._pixels) // self._batch_size)

    def __next__(self) -> tuple[torch.Tensor, torch.Tensor | None]:
        chosen = self._order[self._position : self._position + self._batch_size][self._rows]
        images = self._pixels.take(chosen, axis=0).astype(np.float32)  # (B, C, H, W)
        images /= 127.5
        images -= 1.0
        labels = None if self._labels is None else torch.from_numpy(self._labels.take(chosen))
        self._position += self._batch_size
        if self._position >= self.batches_per_epoch * self._batch_size:
            self._epoch += 1
            self._position = 0
            self._order = self._shuffled()
        return torch.from_numpy(images), labels

    def state_dict(self) -> dict[str, int]:
        """Where the next batch begins: `epoch`, and `position`, the images taken from that epoch so far."""
        return {"epoch": self._epoch, "position": self._position}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Continue with the batch that would have come after `state_dict()` gave `state`.

        Data, batch size and seed must be those of that run. Raises `ValueError` when `state` isn't one that
        this data and batch size can give.
        """
        if set(state) != {"epoch", "position"} or any(type(value) is not int for value in state.values()):
            raise ValueError(f"data order {dict(state)} must be the integers 'epoch' and 'position'")
        epoch, position = state["epoch"], state["position"]
        end = self.batches_per_epoch * self._batch_size
        if epoch < 0 or not 0 <= position < end or position % self._batch_size:
            raise ValueError(
                f"data order epoch {epoch}, position {position} doesn't fit {len(self._pixels)} images in "
                f"batches of {self._batch_size} (positions 0, {self._batch_size}, ... below {end}); resume "
                "with the data and batch size of the first run"
            )
        self._epoch, self._position = epoch, position
        self._order = self._shuffled()

    def _shuffled(self) -> NDArray[np.int64]:
        """Image indices of the current epoch: int64, at least one batch long."""
        # SeedSequence mixes both numbers: (seed 0, epoch 1) and (seed 1, epoch 0) have nothing in common.
        mixed = int(np.random.SeedSequence([self._seed, self._epoch]).generate_state(1, np.uint64)[0])
        generator = torch.Generator().manual_seed(mixed)
        order: NDArray[np.int64] = torch.randperm(len(self._pixels), generator=generator).numpy()
        return np.resize(order, max(len(order), self._batch_size))  # goes round when that is longer
