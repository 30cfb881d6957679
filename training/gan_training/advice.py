"""Advice before the first step: what a careful colleague would say of this data and these settings.

Each rule gives one line with the figures and what to do, or None. The rules read the images in small chunks (they may
be a memory map), look closely at a seeded sample only, and neither read nor change any global random state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional as F

from .config import TrainConfig
from .data import ImageData
from .metrics.subsample import subsample_indices

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
CANDIDATES: Final = 4  # images that look most like a queried one, compared pixel by pixel
SAME: Final = 0.01  # 1 - correlation: below, two images are the same; the nearest two of MNIST have 0.013
SIMILAR: Final = 0.03  # below, they are the same if what else comes near is at least 1 / STANDS_OUT times as far
STANDS_OUT: Final = 0.2
_CHUNK: Final = 2**18  # bytes of images that are worked on at once: they fit into the processor's cache


def advise(data: ImageData, config: TrainConfig) -> list[str]:
    """One line for each thing to know before training on `data`; empty when there is nothing to say.

    Deterministic. Takes 0.7 s of one core for 60,000 images of 28 x 28, 5 s and 300 MiB for 100,000 of 64 x 64 x 3.
    """
    notes = [data.note] if data.note else []
    return notes + [line for rule in RULES if (line := rule(data, config)) is not None]


def few_images(data: ImageData, config: TrainConfig) -> str | None:
    if len(data) >= FEW_IMAGES:
        return None
    shift = "" if config.translate else f" give --set translate={max(1, data.image_size // 14)},"
    return (
        f"only {len(data):,} images: with fewer than about {FEW_IMAGES:,} a GAN often memorises them; add images,"
        f"{shift} or look at the nearest training images of its samples (gan-eval) before you use any"
    )


def few_per_class(data: ImageData, config: TrainConfig) -> str | None:
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
    if not len(data) or (distance := _spread(_sample(data))) >= ALIKE:
        return None
    return (
        f"the images are (nearly) all the same: {distance:.1f} of 255 grey levels from their mean on average; "
        "check what --data holds: there is nothing else to learn from it"
    )


def narrow_range(data: ImageData, _: TrainConfig) -> str | None:
    if not len(data):
        return None
    rows = torch.split(_some(len(data), SAMPLE), max(1, _CHUNK // data.images[0].numel()))
    brightest = max(int(data.images[chosen].max()) for chosen in rows)
    if not 0 < brightest < NARROW:
        return None
    return (
        f"the brightest value of the images is {brightest} of 255: masks of 0 and 1, or 10 or 12 bits in files of 16? "
        "Scale them to the whole range (divide by the largest value that there can be), or samples will be as dark"
    )


def grey_as_rgb(data: ImageData, _: TrainConfig) -> str | None:
    if data.channels == 1 or not len(data):
        return None
    for images in _chunks(data.images):
        levels = images.short()
        if int((levels.amax(1) - levels.amin(1)).max()) > GREY:
            return None
    return f"all {len(data):,} images are grey, stored as RGB: pass --channels 1 for smaller nets that can't miscolour"


def near_duplicates(data: ImageData, _: TrainConfig) -> str | None:
    """Copies: exact, re-encoded, brighter, or shifted by one pixel each way; not flipped, turned or cropped ones."""
    n = len(data)
    if n < 2 or _spread(_sample(data)) < ALIKE:
        return None
    prints, asked = _fingerprints(data.images), _some(n, QUERIES)
    found = [pair for queries in torch.split(asked, 32) for pair in _copies(data.images, prints, queries)]
    share = len(found) / len(asked)
    if len(found) < 2 or share < DUPLICATED:
        return None
    one, other = found[0]
    return (
        f"{'about ' if n > len(asked) else ''}{_percent(share)} of the images have a near-identical copy in the data, "
        f"e.g. images {one:,} and {other:,} (counted from 0): the nets see them more often and memorise them first; "
        "keep one of each"
    )


def latent_size(data: ImageData, config: TrainConfig) -> str | None:
    """Too large: more numbers than images, pixels, or twice the principal components. Too small: fewer than 2/3 of
    the intrinsic dimension."""
    if len(data) < 2 or _spread(sample := _sample(data)) < ALIKE:
        return None
    values, components = data.images[0].numel(), _principal_components(sample)
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
    dimension = _intrinsic_dimension(sample)
    if size >= 2 / 3 * min(dimension, LARGEST_DIMENSION):
        return None
    return (
        f"latent_dim {size} is too small: the images vary in about {dimension:.0f} independent ways, so samples will "
        f"lack variety: use --set latent_dim={fitting}"
    )


def large_batch(data: ImageData, config: TrainConfig) -> str | None:
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


def _chunks(images: Tensor) -> Iterator[Tensor]:
    """(N, C, H, W) uint8 in slices of a few images."""
    return iter(torch.split(images, max(1, _CHUNK // images[0].numel())))


def _some(n: int, count: int) -> Tensor:
    """`count` of the indices 0..n-1, or all, in order and the same each time."""
    return subsample_indices(n, count).sort().values


def _sample(data: ImageData) -> Tensor:
    """(n, values) float32 in 0..255: up to SAMPLE images, averaged down to SAMPLE_EDGE pixels or fewer."""
    factor = -(-data.image_size // SAMPLE_EDGE)
    rows = torch.split(_some(len(data), SAMPLE), max(1, _CHUNK // data.images[0].numel()))
    return torch.cat([F.avg_pool2d(data.images[chosen].float(), factor).flatten(1) for chosen in rows])


def _spread(sample: Tensor) -> float:
    """Root mean square distance of a value from its mean over the images, in grey levels."""
    return float((sample - sample.mean(0)).square().mean().sqrt())


def _principal_components(sample: Tensor) -> int:
    """How many hold VARIANCE of the variance."""
    centred = sample - sample.mean(0)
    gram = centred @ centred.T if len(centred) < centred.shape[1] else centred.T @ centred
    variances = torch.linalg.eigvalsh(gram.double()).flip(0).clamp_min(0).cumsum(0)
    return int((variances < VARIANCE * variances[-1]).sum()) + 1


def _intrinsic_dimension(sample: Tensor) -> float:
    """Two-NN (Facco et al. 2017, doi:10.1038/s41598-017-11873-y); 0 for too few different images.

    The ratio of the distances to the second and the first neighbour follows a Pareto law whose exponent is the
    dimension: fitted through the origin, without the largest tenth, as the paper does. MNIST has 13, moving discs 3.
    """
    distances = torch.cdist(sample.double(), sample.double()).fill_diagonal_(torch.inf)
    near = max(0.01, 0.1 * float(distances.topk(2, largest=False).values[:, 1].median()))
    single = ~(distances < near).triu(1).any(0)  # copies have no place in that law: one of each stays
    if int(single.sum()) < 12:
        return 0.0
    first, second = distances[single][:, single].topk(2, largest=False).values.T
    ratios = (second / first).log().sort().values
    kept = int(0.9 * len(ratios))
    x, y = ratios[:kept], -torch.log1p(-torch.arange(1, kept + 1) / len(ratios))
    return float((x * y).sum() / (x * x).sum())


def _fingerprints(images: Tensor) -> Tensor:
    """(N, d) float32 of length 1: amplitudes of the lowest frequencies in grey, which no small shift changes."""
    factor = max(1, images.shape[-1] // 14)
    prints = []
    for chunk in _chunks(images):
        grey = F.avg_pool2d(chunk.float().mean(1, keepdim=True), factor)[:, 0]
        spectrum = torch.fft.rfft2(grey - grey.mean((1, 2), keepdim=True), norm="forward").abs()  # in grey levels
        lowest = torch.cat([spectrum[:, :5, :5], spectrum[:, -4:, :5]], dim=1).flatten(1)
        lowest[:, 0] = 0.01  # the mean's place: images without any contrast then resemble each other
        prints.append(F.normalize(lowest))
    return torch.cat(prints)


def _copies(images: Tensor, prints: Tensor, queries: Tensor) -> list[tuple[int, int]]:
    """Those of the `queries` (indices) that have a copy, with its index."""
    likeness = prints[queries] @ prints.T  # (queries, N)
    likeness[torch.arange(len(queries)), queries] = -1.0
    candidates = likeness.topk(min(CANDIDATES, len(images) - 1)).indices
    compared = torch.stack([_unlikeness(images[queries], images[column]) for column in candidates.T], dim=1)
    distances, order = compared.sort(stable=True)
    nearest, others = distances[:, 0], distances[:, : CANDIDATES - 1][:, -1]
    copied = (nearest < SAME) | ((nearest < SIMILAR) & (nearest < STANDS_OUT * others))
    partners = candidates.gather(1, order)[:, 0]
    return list(zip(queries[copied].tolist(), partners[copied].tolist(), strict=True))


def _unlikeness(a: Tensor, b: Tensor) -> Tensor:
    """(n,) float32: 1 - correlation of uint8 (n, C, H, W) images, at the best of 9 shifts; 0 for equal bytes.

    The shift is found in grey; there the colours have to agree as well.
    """
    inner = a.shape[-1] - 2
    grey_a, grey_b = (images.float().mean(1, keepdim=True) for images in (a, b))
    shifts = [(y, x) for y in range(3) for x in range(3)]
    at = torch.stack([_correlation(_inside(grey_a), grey_b[..., y : y + inner, x : x + inner]) for y, x in shifts])
    best, where = at.max(0)
    if a.shape[1] > 1:
        shifted = [
            image[:, y : y + inner, x : x + inner] for image, (y, x) in zip(b, [shifts[i] for i in where], strict=True)
        ]
        best = torch.minimum(best, _correlation(_inside(a).float(), torch.stack(shifted).float()))
    return torch.where((a == b).flatten(1).all(1), 0.0, 1 - best)


def _inside(images: Tensor) -> Tensor:
    return images[..., 1:-1, 1:-1]


def _correlation(a: Tensor, b: Tensor) -> Tensor:
    a, b = a.flatten(1), b.flatten(1)
    a, b = a - a.mean(1, keepdim=True), b - b.mean(1, keepdim=True)
    lengths: Tensor = a.norm(dim=1) * b.norm(dim=1)
    return (a * b).sum(1) / lengths.clamp_min(1e-6)


def _power_of_two(at_most: int) -> int:
    return 1 << (at_most.bit_length() - 1)


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 0.1 else f"{100 * share:.2g} %"


def _name(data: ImageData, label: int) -> str:
    name = data.class_names[label]
    return repr(name if len(name) <= 40 else name[:39] + "…")
