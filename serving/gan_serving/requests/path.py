"""A path through latent space, from key point to key point: the frames of an interpolation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gan_client.types import KEY_POINT_LIMIT, InterpolateRequest
from gan_export.artifact import Manifest, draw
from gan_serving.batching.jobs import Inputs
from gan_serving.errors import InvalidRequestError
from gan_serving.messages import counted

from .fields import check_truncation, class_ids, given_latents, require_label

_PARALLEL: Final = 1e-6  # sine of an angle below which two latents have no plane to turn in
_FLOAT32_MAX: Final = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class LatentPath:
    """Key point i is frame i * steps, and its latent is the key point's own, to the bit."""

    latents: NDArray[np.float32]  # (k, latent_dim)
    labels: NDArray[np.int64] | None  # (k,); None for an unconditional generator
    steps: int  # frames from one key point to the next
    loop: bool  # whether the path goes on to the first key point
    spherical: bool

    def __len__(self) -> int:
        k = len(self.latents)
        return k * self.steps if self.loop else (k - 1) * self.steps + 1

    def chunks(self, size: int) -> Iterator[Inputs]:
        """All frames in order, `size` of them at a time; the last part may be smaller."""
        for start in range(0, len(self), size):
            yield self.part(start, min(start + size, len(self)))

    def part(self, start: int, stop: int) -> Inputs:
        """Frames `start` to `stop`, 0 <= start < stop <= len."""
        here, step = np.divmod(np.arange(start, stop), self.steps)
        there = (here + 1) % len(self.latents)
        between = _spherical if self.spherical else _linear
        frames = between(
            self.latents[here].astype(np.float64), self.latents[there].astype(np.float64), step[:, None] / self.steps
        )
        latents = np.clip(frames, -_FLOAT32_MAX, _FLOAT32_MAX).astype(np.float32)
        is_key = step == 0
        latents[is_key] = self.latents[here[is_key]]
        # Half a class means nothing to a generator: a label changes midway.
        labels = None if self.labels is None else self.labels[np.where(2 * step < self.steps, here, there)]
        return Inputs(latents, labels)


def make_path(request: InterpolateRequest, manifest: Manifest, max_n: int) -> LatentPath:
    """Resolve key points, their labels, and the number of frames.

    Raises:
        InvalidRequestError: fields that contradict each other or don't fit this generator.
    """
    latents, labels = _key_points(request, manifest)
    if request.label is not None:
        asked = class_ids(request.label, manifest)
        labels = np.broadcast_to(np.asarray(asked, np.int64), len(latents))
    path = LatentPath(latents, labels, request.steps, request.loop, manifest.latent.distribution == "normal")
    if len(path) > max_n:
        raise InvalidRequestError(
            f"steps is {request.steps}; with {len(latents)} key points that is {len(path)} frames, but a request is "
            f"for at most {max_n}; use fewer steps or key points",
            "steps",
        )
    return path


def _key_points(
    request: InterpolateRequest, manifest: Manifest
) -> tuple[NDArray[np.float32], NDArray[np.int64] | None]:
    """Latents (k, latent_dim), and the labels (k,) that their seeds draw."""
    if request.seeds is not None and request.latents is not None:
        raise InvalidRequestError("seeds and latents exclude each other; give one of them", "seeds")
    points = request.seeds or request.latents
    if points is None:
        raise InvalidRequestError(f"seeds is missing; give 2 to {KEY_POINT_LIMIT} seeds, or rows of latents", "seeds")
    if isinstance(request.label, list) and len(request.label) != len(points):
        raise InvalidRequestError(
            f"label has {counted(len(request.label), 'entry', 'entries')} for {len(points)} key points; "
            "give a single label, or one for each",
            "label",
        )
    if request.latents is not None:
        if request.truncation is not None:
            raise InvalidRequestError("truncation and latents exclude each other; give one of them", "truncation")
        require_label(request.label, manifest)
        return given_latents(request.latents, manifest), None
    check_truncation(request.truncation, manifest)
    latent, seeds = manifest.latent, request.seeds or []
    drawn = draw(seeds, latent.dim, latent.distribution, classes=manifest.classes, truncation=request.truncation)
    return drawn.latents, drawn.labels


def _linear(a: NDArray[np.float64], b: NDArray[np.float64], t: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n, d), (n, d) and (n, 1) -> (n, d)."""
    return (1 - t) * a + t * b


def _spherical(a: NDArray[np.float64], b: NDArray[np.float64], t: NDArray[np.float64]) -> NDArray[np.float64]:
    """The direction turns along the great circle (Shoemake, 1985), the length changes linearly.

    A straight line between normal latents passes much nearer to 0 than any latent lies (White, 2016, "Sampling
    generative networks"). Latents that are parallel, opposite or 0 are joined by the straight line all the same.
    """
    length_a, length_b = np.linalg.norm(a, axis=1, keepdims=True), np.linalg.norm(b, axis=1, keepdims=True)
    unit_a, unit_b = a / np.where(length_a, length_a, 1), b / np.where(length_b, length_b, 1)
    # Sine and cosine from the chords: exact for small angles, where the inverse cosine is not.
    angle = 2 * np.arctan2(
        np.linalg.norm(unit_a - unit_b, axis=1, keepdims=True), np.linalg.norm(unit_a + unit_b, axis=1, keepdims=True)
    )
    sine = np.sin(angle)
    flat = (sine < _PARALLEL) | (length_a == 0) | (length_b == 0)
    safe = np.where(flat, 1, sine)
    direction = (np.sin((1 - t) * angle) * unit_a + np.sin(t * angle) * unit_b) / safe
    return np.where(flat, _linear(a, b, t), _linear(length_a, length_b, t) * direction)
