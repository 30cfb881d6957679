"""Images to be judged: from a checkpoint, or from what anybody generated, as a folder or an npz."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, NamedTuple

import torch
from torch import Tensor, nn

from gan_training.checkpoint import BEST, CHECKPOINT, CheckpointError, Weights, load_checkpoint
from gan_training.data import DataError, ImageData, load_data
from gan_training.data.decoding import SUFFIXES
from gan_training.data.source import ProgressFn, keep_silent
from gan_training.failures import looking
from gan_training.grid import CHUNK, NonFiniteImagesError, images_of
from gan_training.metrics.prdc import NEIGHBOURS
from gan_training.metrics.subsample import subsample_indices
from gan_training.nets import draw_latents
from gan_training.specs import GeneratorSpec

TRIED: Final = 8  # images that a checkpoint generates at first, to find out whether it can


@dataclass(frozen=True)
class Samples:
    """Images to be judged."""

    images: Tensor  # uint8 (N, C, S, S)
    labels: Tensor | None  # (N,) the classes that were asked for; None where nobody asked


DrawFn = Callable[[ProgressFn], Samples]
"""Gives samples, telling how far it is."""


class Prepared(NamedTuple):
    """Samples that are ready to be drawn or read."""

    draw: DrawFn
    notes: tuple[str, ...] = ()  # what was found in them, or done to them, before they are judged; a line each


def prepare_samples(
    path: Path, real: ImageData, n: int, *, weights: Weights = "ema", seed: int = 0, held_out_of: str = ""
) -> Prepared:
    """What gives up to n images of `path` when it is called: a checkpoint generates n, an npz or a folder gives n of
    those it holds, the same ones each time. All that can be wrong with `path` is found here, before long work.

    Args:
        path: `ckpt.pt`, an npz with `images` and perhaps `labels`, or a folder, perhaps with a subfolder per class.
        real: the data to compare with; images are brought to its size and channels, and a checkpoint is asked for
            classes as often as the data have them.
        n: number of images.
        weights: a checkpoint's `ema` or `raw` generator.
        seed: of a checkpoint's latents.
        held_out_of: digest of the data that the real test images were taken from; empty if they are others.

    Raises:
        CheckpointError, DataError: unreadable, or classes that the real data don't have.
    """
    kind = _kind(path)
    if kind != "checkpoint":
        return _prepare_images(f"{kind}:{path}", real, n)
    return _prepare_checkpoint(path, real, n, weights, seed, held_out_of)


def _prepare_images(source: str, real: ImageData, n: int) -> Prepared:
    found = load_data(source, real.image_size, real.channels, all_classes=False)
    labels, rows = labels_as_in(found, real), subsample_indices(len(found), n)
    samples = Samples(found.images[rows], None if labels is None else labels[rows])
    refuse_few(samples.images, found.source)
    return Prepared(lambda _: samples, (*found_in(found), *resized(found, real)))


def _prepare_checkpoint(path: Path, real: ImageData, n: int, weights: Weights, seed: int, held_out_of: str) -> Prepared:
    checkpoint = load_checkpoint(path)
    if checkpoint.class_names and checkpoint.class_names != real.class_names:
        raise DataError(
            f"{path}: has the classes {', '.join(checkpoint.class_names[:12])}, but {real.source} has "
            f"{', '.join(real.class_names[:12]) or 'none'}; give the --data that it was trained on"
        )
    spec, generator = checkpoint.generator_spec, checkpoint.generator(weights)
    if (spec.image_size, spec.channels) != (real.image_size, real.channels):
        raise DataError(
            f"{path}: its images are {_shape(spec.image_size, spec.channels)}, but {real.source} has "
            f"{_shape(real.image_size, real.channels)}; give --image-size and --channels, or other --data"
        )

    def draw(progress: ProgressFn, count: int = n) -> Samples:
        try:
            return generate(generator, spec, count, like=real.labels, seed=seed, progress=progress)
        except NonFiniteImagesError as error:
            raise CheckpointError(f"{path}: {error}: its training has diverged") from error

    draw(keep_silent, min(n, TRIED))
    has_seen = bool(held_out_of) and checkpoint.data_sha256 == held_out_of
    note = (
        f"{path}: was trained on {real.source} whole, the tenth too that real images are taken from, so its figures "
        "may be better than on new images; give --test-data that it has not seen"
    )
    return Prepared(draw, (note,) if has_seen else ())


def shape_wanted(paths: Sequence[Path]) -> tuple[int | None, int | None]:
    """(image size, channels) of the first checkpoint of `paths`, which real images have to have; None without one."""
    for path in paths:
        if _kind(path) == "checkpoint":
            spec = load_checkpoint(path).generator_spec
            return spec.image_size, spec.channels
    return None, None


def _kind(path: Path) -> Literal["folder", "npz", "checkpoint"]:
    """What `path` is read as; raises DataError where it is sure to be something else."""
    with looking(path):
        _refuse_what_is_no_set(path)
        return "folder" if path.is_dir() else "npz" if path.suffix == ".npz" else "checkpoint"


def resized(found: ImageData, real: ImageData) -> Iterator[str]:
    """A line on what was done to `found` so that its images are as those of `real`, if anything was."""
    if found.stored_as:
        wanted = _shape(real.image_size, real.channels)
        yield (
            f"{found.source}: {found.stored_as} images were made {wanted} (cropped, Lanczos), as those of "
            f"{real.source} are; the figures are of what that left"
        )


def found_in(data: ImageData) -> Iterator[str]:
    """A line on each thing that was found when they were read."""
    for note in data.notes:
        yield f"{data.source}: {note}"


def refuse_few(images: Tensor, source: str) -> None:
    """Raises DataError where images are no more than the neighbours that are looked for."""
    if len(images) <= NEIGHBOURS:
        raise DataError(f"{source}: {len(images)} images are too few; {NEIGHBOURS + 1} is the least")


def _refuse_what_is_no_set(path: Path) -> None:
    """What lies beside the right argument, and would be judged as something else."""
    if path.suffix.lower() in SUFFIXES and path.is_file():
        raise DataError(f"{path}: is one picture; give the folder that holds many, an npz, or a checkpoint")
    if (path / CHECKPOINT).is_file():
        raise DataError(f"{path}: is the folder of a run; give {path / CHECKPOINT} (or {BEST})")
    if (path / "manifest.json").is_file():
        raise DataError(f"{path}: is an artifact; draw images with gan-client dataset first, and give those")
    if path.name == "samples" and (path.parent / CHECKPOINT).is_file():
        raise DataError(f"{path}: holds a run's sample grids, many images on each; give {path.parent / CHECKPOINT}")


def _shape(size: int, channels: int) -> str:
    return f"{size}x{size} {'grey' if channels == 1 else 'RGB'}"


def generate(
    generator: nn.Module,
    spec: GeneratorSpec,
    n: int,
    *,
    like: Tensor | None = None,
    seed: int = 0,
    progress: ProgressFn = keep_silent,
) -> Samples:
    """n images of a generator in eval mode; its own mode is put back afterwards.

    Args:
        like: (M,) labels of the data that the images are compared with, which say how often each class is asked for.
            Without them, and of a conditional generator, all are asked for equally often.
        seed: of the latents.
    """
    rng = torch.Generator().manual_seed(seed)
    labels = None
    if spec.classes:
        labels = labels_like(torch.arange(spec.classes) if like is None else like, n, spec.classes, seed)

    def parts() -> Iterator[tuple[Tensor, Tensor | None]]:
        for start in range(0, n, CHUNK):
            z = draw_latents(min(CHUNK, n - start), spec.latent_dim, spec.latent, rng)
            yield z, None if labels is None else labels[start : start + CHUNK]
            progress(min(start + CHUNK, n), n)

    return Samples(images_of(generator, parts()), labels)


def labels_like(labels: Tensor, n: int, classes: int, seed: int) -> Tensor:
    """(n,) labels, each class as often as in (M,) `labels`, as nearly as whole numbers can be.

    Class after class in turns, the rare ones in the first turns. What of n doesn't go into whole numbers is a seeded
    choice, by the shares that are left. Of equally frequent classes, no more than n, the first have one more.
    """
    counts = torch.bincount(labels, minlength=classes)
    if n >= classes and bool((counts == counts[0]).all()):
        return torch.arange(n) % classes
    wanted, left = counts * n // len(labels), counts * n % len(labels)
    more = n - int(wanted.sum())
    if more:
        rng = torch.Generator().manual_seed(seed)
        wanted[torch.multinomial(left.double(), more, generator=rng)] += 1
    ids = torch.arange(classes).repeat_interleave(wanted)
    turns = torch.cat([torch.arange(int(count)) for count in wanted])
    return ids[turns.argsort(stable=True)]


def labels_as_in(found: ImageData, real: ImageData) -> Tensor | None:
    """(N,) labels of `found` as class ids of `real`, matched by class name; None if either has no labels.

    Raises:
        DataError: a class that `real` doesn't have.
    """
    if found.labels is None or real.labels is None:
        return None
    strange = [name for name in found.class_names if name not in real.class_names]
    if strange:
        raise DataError(
            f"{found.source}: has the class {strange[0]!r}, but {real.source} has "
            f"{', '.join(real.class_names[:12])}; rename it, or give other --data"
        )
    return torch.tensor([real.class_names.index(name) for name in found.class_names])[found.labels]
