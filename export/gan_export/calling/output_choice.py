"""Which of a forward's outputs are the images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor

from gan_export.conventions import ImageShape, Layout
from gan_export.refusal import IntakeError

from .adapter import is_pixels, path_words, read_layout, tensors_in
from .missing_values import refuse_valueless

NAMES: Final = frozenset({"image", "images", "img", "imgs", "rgb", "sample", "samples", "fake", "fakes"})
"""What an output of images is called, where outputs have names."""


class Place(NamedTuple):
    """A tensor of an output that can be read as images."""

    path: tuple[int | str, ...]
    layout: Layout
    image_shape: ImageShape
    tensor: Tensor

    @property
    def name(self) -> str:
        """As `--output` takes it."""
        return ".".join(map(str, self.path))


def place_of_images(output: Any, batch: int, wanted: ImageShape | None, asked: str | None = None) -> Place | None:
    """Where in an output its images are; None if nowhere.

    Of several resolutions it is the largest. Maps without channels, as attention is, are not meant where something has
    channels.

    Args:
        output: of a forward on `batch` latents.
        batch: N.
        wanted: (C, H, W) if it was given.
        asked: the place, if it was given.

    Raises:
        IntakeError: several tensors could be the images and no name tells which, one of them has no values, or none is
            where it was asked for.
    """
    places = _readable(output, batch, wanted)
    if asked is not None:
        found = next((place for place in places if place.name == asked), None)
        if found is None:
            raise IntakeError(f"--output {asked!r}: forward gives no images there; {_listed(places)}")
        return found
    if any(place.layout != "nhw" for place in places):
        places = [place for place in places if place.layout != "nhw"]
    for place in places:  # they are compared with each other
        refuse_valueless(place.tensor, f"forward's {path_words(place.path)}")
    places = _largest(places)
    if len(places) > 1:
        places = [place for place in places if str(place.path[-1]).lower() in NAMES] or places
    if len(places) > 1:
        raise IntakeError(
            f"forward gives several tensors that could be the images: choose one with --output; {_listed(places)}"
        )
    return places[0] if places else None


def _readable(output: Any, batch: int, wanted: ImageShape | None) -> list[Place]:
    places = []
    for path, tensor in tensors_in(output):
        if is_pixels(tensor) and tensor.ndim > 1 and len(tensor) == batch:
            reading = read_layout(tensor.shape, wanted)
            if reading is not None:
                places.append(Place(path, *reading, tensor))
    return places


def _largest(places: Sequence[Place]) -> list[Place]:
    """Of images that have as many channels, the largest ones; of equal ones, the first."""
    kept: list[Place] = []
    for place in places:
        channels, *_ = place.image_shape
        size = max(math.prod(other.image_shape) for other in places if other.image_shape[0] == channels)
        if math.prod(place.image_shape) == size and not any(
            place.tensor.shape == other.tensor.shape and torch.equal(place.tensor, other.tensor) for other in kept
        ):
            kept.append(place)
    return kept


def _listed(places: Sequence[Place]) -> str:
    if not places:
        return "it does not give any"
    if not places[0].path:
        return "it gives a single tensor: leave out --output"
    each = ("{} ({} x {} x {})".format(place.name, *place.image_shape) for place in places)
    return f"there are: {', '.join(each)}"
