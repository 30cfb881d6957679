"""Advice before the first step: what a careful colleague would say of this data and these settings.

Each rule gives one line with the figures and what to do, or None. The rules read the images in small chunks (they may
be a memory map), look closely at a seeded sample only, and neither read nor change any global random state.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional as F

from gan_training.config import TrainConfig
from gan_training.data import ImageData
from gan_training.metrics.subsample import subsample_indices

from .dimension import intrinsic_dimension, principal_components
from .duplicates import CHUNK_BYTES, find_copies, in_chunks

Rule = Callable[[ImageData, TrainConfig], str | None]

FEW_IMAGES: Final = 1000
"""A rule of thumb: the share of copies among a GAN's samples falls exponentially with the number of images (Feng et al.
2021, arXiv:2202.11765), and at 1,000 quality holds only with augmentation (Zhao et al. 2020, arXiv:2006.10738)."""
FEW_PER_CLASS: Final = 100
IMBALANCE: Final = 10  # images of the largest class for one of the smallest
ALIKE: Final = 3.0  # grey levels of 255: root mean square distance from the mean image
NARROW: Final = 64  # levels: images that reach no higher are of another scale; the darkest photographs have lights
GREY: Final = 3  # levels by which the channels of a grey image may differ, as JPEG leaves them
SAMPLE: Final = 2000  # images that variance and dimension are estimated from
SAMPLE_EDGE: Final = 32  # pixels that they are averaged down to, at most
VARIANCE: Final = 0.99  # share of it that the counted principal components hold
USUAL_LATENT: Final = 64  # the default, and enough for all data that these nets can learn
LARGEST_DIMENSION: Final = 24  # intrinsic; estimates above are unreliable, and photographs have 20 to 45
DUPLICATED: Final = 0.01  # share of images with a copy that is worth a word
QUERIES: Final = 1000  # images whose copies are looked for: the share is known to about 1 % of the set


def advise(data: ImageData, config: TrainConfig) -> list[str]:
    """One line for each thing to know before training on `data`; empty when there is nothing to say.

    Deterministic. Takes 0.7 s of one core for 60,000 images of 28 x 28, 5 s and 300 MiB for 100,000 of 64 x 64 x 3.
    """
    return list(data.notes) + [line for rule in RULES if (line := rule(data, config)) is not None]


def few_images(data: ImageData, config: TrainConfig) -> str | None:
    """Fewer than FEW_IMAGES images."""
    if len(data) >= FEW_IMAGES:
        return None
    shift = "" if config.translate else f" give --set translate={max(1, data.image_size // 14)},"
    return (
        f"only {len(data):,} images: with fewer than about {FEW_IMAGES:,} a GAN often memorises them; add images,"
        f"{shift} or look at the nearest training images of its samples (gan-eval) before you use any"
    )


def few_per_class(data: ImageData, config: TrainConfig) -> str | None:
    """Classes of fewer than FEW_PER_CLASS images, where the nets see labels."""
    if not config.is_conditional or data.labels is None:
        return None
    counts = torch.bincount(data.labels, minlength=data.classes)
    order = counts.argsort(stable=True).tolist()
    short = [label for label in order if counts[label] < FEW_PER_CLASS]
    if not short:
        return None
    named = ", ".join(f"{_name(data, label)} ({counts[label]})" for label in short[:3])
    more = f" and {len(short) - 3:,} more" if len(short) > 3 else ""
    return (
        f"{len(short):,} of {data.classes:,} classes have fewer than {FEW_PER_CLASS} images: {named}{more}; their "
        "samples will be copies or all alike: add images, join or drop classes, or train without labels (--type dcgan)"
    )


def imbalance(data: ImageData, _: TrainConfig) -> str | None:
    """A class with more than IMBALANCE times the images of another."""
    if data.labels is None or data.classes < 2:
        return None
    counts = torch.bincount(data.labels, minlength=data.classes)
    large, small = int(counts.argmax()), int(counts.argmin())
    most, least = int(counts[large]), int(counts[small])
    if most <= IMBALANCE * least:
        return None
    return (
        f"class {_name(data, large)} has {most:,} images and {_name(data, small)} {least:,}: images and labels are "
        f"drawn as in the data, so only {_percent(least / len(data))} of what the nets see is {_name(data, small)}; "
        f"add images of it (in a folder, links count) or drop some of {_name(data, large)}"
    )


def all_alike(data: ImageData, _: TrainConfig) -> str | None:
    """Images that differ by fewer than ALIKE grey levels."""
    if not len(data) or (distance := _spread(_sample(data))) >= ALIKE:
        return None
    return (
        f"the images are (nearly) all the same: {distance:.1f} of 255 grey levels from their mean on average; "
        "check what --data holds: there is nothing else to learn from it"
    )


def narrow_range(data: ImageData, _: TrainConfig) -> str | None:
    """Images whose brightest value is below NARROW: of another scale than 0 to 255."""
    if not len(data):
        return None
    rows = torch.split(_some(len(data), SAMPLE), max(1, CHUNK_BYTES // data.images[0].numel()))
    brightest = max(int(data.images[chosen].max()) for chosen in rows)
    if not 0 < brightest < NARROW:
        return None
    return (
        f"the brightest value of the images is {brightest} of 255: masks of 0 and 1, or 10 or 12 bits in files of 16? "
        "Scale them to the whole range (divide by the largest value that there can be), or samples will be as dark"
    )


def grey_as_rgb(data: ImageData, _: TrainConfig) -> str | None:
    """RGB images whose channels differ by no more than GREY levels."""
    if data.channels == 1 or not len(data):
        return None
    for images in in_chunks(data.images):
        levels = images.short()
        if int((levels.amax(1) - levels.amin(1)).max()) > GREY:
            return None
    return f"all {len(data):,} images are grey, stored as RGB: pass --channels 1 for smaller nets that can't miscolour"


def near_duplicates(data: ImageData, _: TrainConfig) -> str | None:
    """Copies: exact, re-encoded, brighter, or shifted by one pixel each way; not flipped, turned or cropped ones."""
    n = len(data)
    if n < 2 or _spread(_sample(data)) < ALIKE:
        return None
    asked = _some(n, QUERIES)
    found = find_copies(data.images, asked)
    share = len(found) / len(asked)
    if len(found) < 2 or share < DUPLICATED:
        return None
    one, other = found[0]
    named = f"images {one:,} and {other:,} (counted from 0)"
    if data.file_names:
        named = f"{data.file_names[one]} and {data.file_names[other]}"
    return (
        f"{'about ' if n > len(asked) else ''}{_percent(share)} of the images have a near-identical copy in the data, "
        f"e.g. {named}: the nets see them more often and memorise them first; "
        "keep one of each"
    )


def latent_size(data: ImageData, config: TrainConfig) -> str | None:
    """Too large: more numbers than images, pixels, or twice the principal components. Too small: fewer than 2/3 of
    the intrinsic dimension."""
    if len(data) < 2 or _spread(sample := _sample(data)) < ALIKE:
        return None
    values, components = data.images[0].numel(), principal_components(sample, VARIANCE)
    limit, size = min(len(data), values, 2 * components), config.latent_dim
    fitting = _power_of_two(min(USUAL_LATENT, limit))
    if size > limit:
        return (
            f"latent_dim {size:,} is more than the data can carry: {len(data):,} images of {values:,} values, with "
            f"{_percent(VARIANCE)} of their variance in {components:,} principal component{'s' * (components > 1)}; "
            f"the generator must learn to ignore the rest: use --set latent_dim={fitting}"
        )
    if size >= min(fitting, LARGEST_DIMENSION):
        return None
    dimension = intrinsic_dimension(sample)
    if size >= 2 / 3 * min(dimension, LARGEST_DIMENSION):
        return None
    return (
        f"latent_dim {size} is too small: the images vary in about {dimension:.0f} independent ways, so samples will "
        f"lack variety: use --set latent_dim={fitting}"
    )


def large_batch(data: ImageData, config: TrainConfig) -> str | None:
    """Fewer images than a batch has."""
    if config.batch_size <= len(data):
        return None
    fitting = _power_of_two(max(2, len(data) // 4))
    return (
        f"batch_size {config.batch_size:,} is larger than the data ({len(data):,} images): each batch holds all of "
        f"them, some more than once; use --batch-size {fitting}"
    )


RULES: Final[tuple[Rule, ...]] = (
    few_images,
    few_per_class,
    imbalance,
    narrow_range,
    all_alike,
    grey_as_rgb,
    near_duplicates,
    latent_size,
    large_batch,
)
"""In the order in which their lines are given."""


def _some(n: int, count: int) -> Tensor:
    """`count` of the indices 0..n-1, or all, in order and the same each time."""
    return subsample_indices(n, count).sort().values


def _sample(data: ImageData) -> Tensor:
    """(n, values) float32 in 0..255: up to SAMPLE images, averaged down to SAMPLE_EDGE pixels or fewer."""
    factor = -(-data.image_size // SAMPLE_EDGE)
    rows = torch.split(_some(len(data), SAMPLE), max(1, CHUNK_BYTES // data.images[0].numel()))
    return torch.cat([F.avg_pool2d(data.images[chosen].float(), factor).flatten(1) for chosen in rows])


def _spread(sample: Tensor) -> float:
    """Root mean square distance of a value from its mean over the images, in grey levels."""
    return float((sample - sample.mean(0)).square().mean().sqrt())


def _power_of_two(at_most: int) -> int:
    return 1 << (at_most.bit_length() - 1)


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 0.1 else f"{100 * share:.2g} %"


def _name(data: ImageData, label: int) -> str:
    name = data.class_names[label]
    return repr(name if len(name) <= 40 else name[:39] + "…")
