"""A lane of a batcher, and whether those that compute will be back before another one is of use."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Final

from .jobs import Slice

SOON: Final = 0.001
"""Seconds of work, together with what a lane has just begun, that aren't worth another lane. With 4 connections that
ask for single images 3,080 requests/s became 3,360; with 8, 16 and 64 they stayed (28x28; 6 rounds in turns, medians
of 18)."""


@dataclass(eq=False)
class Lane:
    """One that is awake. Its thread takes batches too, so that its task has to look here which one it has."""

    batch: list[Slice] = field(default_factory=list)
    images: int = 0  # of the batch
    began: float = 0.0  # seconds of the performance counter; 0: what it does may take long
    ended: bool = False  # its task is over, and nobody would hear of another batch
    task: asyncio.Task[None] | None = None  # kept here, as the event loop doesn't

    def begin(self) -> None:
        """It computes its batch from now on."""
        self.images, self.began = sum(map(len, self.batch)), time.perf_counter()


def seconds_left(lanes: Collection[Lane], waiting: int, seconds_for: Callable[[int], float]) -> float:
    """Seconds until lanes that are awake have computed what they have and what waits; infinity where nobody knows.

    Args:
        lanes: that are awake.
        waiting: images in the queue.
        seconds_for: how long a lane takes for so many images.
    """
    now = time.perf_counter()
    if not any(now - lane.began < SOON for lane in lanes):  # none, or they take longer than they should
        return math.inf
    return seconds_for(waiting + sum(lane.images for lane in lanes))
