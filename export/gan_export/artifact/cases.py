"""The batches that a certificate is about, and what is known of their images before they are drawn."""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd, isqrt
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .latents import draw
from .manifest import LatentSpec

CERTIFIED_BATCHES: Final = (1, 2, 3, 7, 64)
SEEDS: Final = (0, 1_000_003, 2**52)
TAIL: Final = 4.0  # standard deviations
ALONE_EVERY: Final = (9, 11, 13, 8)  # positions of a large batch between two images that are also generated alone
ONE_THREAD: Final = (1, 32)  # batches that are drawn with one thread too, as serving draws those of small nets
LABELS_AT_ONCE: Final = 64
ALL_LABELS: Final = 1024  # classes of which every label is drawn
MAX_DIMENSIONS: Final = 128  # of a latent that are moved one by one; those of a longer one are moved in groups

Array: TypeAlias = NDArray[Any]


@dataclass(frozen=True)
class Case:
    """One batch of inputs."""

    z: NDArray[np.float32]  # (N, latent_dim)
    label: NDArray[np.int64] | None  # (N,)
    copy_of: str = ""  # the case that has the same inputs from position `start` on: the images must be the same
    start: int = 0
    distinct: str = ""  # "latents" or "labels": only these differ, and so must the images
    moves: tuple[str, ...] = ()  # what of the first latent each of the others moves; each must move the image
    compared: bool = True  # with the reference
    threads: int = 0  # inside an operator; 0: one for each core


Cases: TypeAlias = dict[str, Case]


def make_cases(latent: LatentSpec, classes: int) -> Cases:
    """The declared latents, their tails and zero, `labels_drawn`, every batch size; images again, alone and batched."""
    cases: Cases = {}

    def add(name: str, z: Array, label: Array | None = None, **known: Any) -> None:
        if classes and label is None:
            label = np.arange(len(z), dtype=np.int64) % classes
        cases[name] = Case(np.ascontiguousarray(z, np.float32), label, **known)

    for seed in SEEDS:
        largest = f"seed{seed}_batch{max(CERTIFIED_BATCHES)}"
        for batch in sorted(CERTIFIED_BATCHES, reverse=True):
            name = f"seed{seed}_batch{batch}"
            z = draw(range(seed, seed + batch), latent.dim, latent.distribution).latents
            add(name, z, copy_of="" if name == largest else largest)
    largest = f"seed{SEEDS[0]}_batch{max(CERTIFIED_BATCHES)}"
    again = cases[largest]
    add("repeat", again.z, again.label, copy_of=largest)
    # Not always of the same label: it could be the first one's, given to the whole batch.
    step = next((each for each in ALONE_EVERY if gcd(each, max(classes, 1)) == 1), ALONE_EVERY[0])
    for i in range(0, len(again.z), step):
        label = None if again.label is None else again.label[i : i + 1]
        add(f"alone{i}", again.z[i : i + 1], label, copy_of=largest, start=i)
    for batch in ONE_THREAD:
        label = None if again.label is None else again.label[:batch]
        add(f"one_thread{batch}", again.z[:batch], label, copy_of=largest, compared=False, threads=1)
    far = np.where(again.z[:3] >= 0, 1.0, -1.0) * (TAIL if latent.distribution == "normal" else 1.0)
    add("tails", far)
    add("zeros", np.zeros((2, latent.dim)))
    add("latents", again.z[:8], np.zeros(8, np.int64) if classes else None, distinct="latents")
    labels = labels_drawn(classes)
    for first in range(0, len(labels), LABELS_AT_ONCE):
        label = labels[first : first + LABELS_AT_ONCE]
        add(f"labels{label[0]}", np.repeat(again.z[:1], len(label), 0), label, distinct="labels")
    groups = np.array_split(np.arange(latent.dim), min(latent.dim, MAX_DIMENSIONS))
    for first in range(0, len(groups), max(CERTIFIED_BATCHES) - 1):
        some = groups[first : first + max(CERTIFIED_BATCHES) - 1]
        z = np.repeat(again.z[:1], len(some) + 1, 0)
        for row, group in enumerate(some, 1):
            z[row, group] = -far[0, group]
        moves = tuple(str(group[0]) if len(group) == 1 else f"{group[0]} to {group[-1]}" for group in some)
        add(f"moved{first}", z, np.zeros(len(z), np.int64) if classes else None, moves=moves, compared=False)
    return cases


def labels_drawn(classes: int) -> NDArray[np.int64]:
    """All labels, or of more than ALL_LABELS the first and last ones and, evenly spread, as many in between.

    For every distance below `classes`, two of them are that far apart, so that labels taken modulo anything show.
    """
    if classes <= ALL_LABELS:
        return np.arange(classes)
    step = isqrt(classes)
    first, last = np.arange(step), np.arange(classes - step, classes)
    return np.unique(np.concatenate([first, np.arange(0, classes, step), last]))


def short_cases(golden: Case) -> Cases:
    """What a service has time for when it starts: the golden batch twice, and its last image alone."""
    last = len(golden.z) - 1
    label = None if golden.label is None else golden.label[last:]
    return {
        "golden": golden,
        "repeat": Case(golden.z, golden.label, copy_of="golden"),
        f"alone{last}": Case(golden.z[last:], label, copy_of="golden", start=last),
    }
