"""Whether a file of weights holds all of a generator: some nets draw numbers when they are made and never save them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Final

import torch
from torch import Tensor, nn

from gan_export.refusal import IntakeError
from gan_export.user_code.random_state import random_state

from .adapter import Convention
from .convention_search import alike, image_of, run_once
from .missing_values import RefuseFreed
from .weight_writes import refuse_weight_writes

COMPARED_IMAGES: Final = 4


def check_complete(module: nn.Module, twin: nn.Module, convention: Convention) -> None:
    """Two modules that were constructed one after the other and given the same weights must draw the same images.

    What differs would be other numbers than the author's own: positions or noise drawn by the constructor, or by the
    first call of forward, and kept outside of the state dict.

    Args:
        module, twin: in eval mode, weights loaded.
        convention: how they are called.

    Raises:
        IntakeError: they draw different images, or write into their weights; one line that names what differs, where it
            can be seen.
    """
    z = torch.randn(COMPARED_IMAGES, convention.latent_dim, generator=torch.Generator().manual_seed(1))
    label = torch.arange(COMPARED_IMAGES) % convention.classes if convention.classes else None
    # What forward draws when it is called for the first time, and keeps, differs from now on. It may fail for another
    # reason; that is told below.
    with contextlib.suppress(Exception):
        run_once(twin, convention, z, label, seed=1)
    refuse_weight_writes(module, lambda: run_once(module, convention, z, label))
    images = [image_of(run_once(one, convention, z, label), convention) for one in (module, twin)]
    if images[0].isfinite().all() and not alike(*images):  # anything else is for the certificate to tell
        if not alike(images[0], image_of(run_once(module, convention, z, label), convention)):
            if alike(*(_seeded_images(module, convention, z, label) for _ in range(2))):
                raise IntakeError(
                    "called twice with the same latents it gives different images, because forward draws random "
                    "numbers from NumPy or Python: leave that noise out, or derive it from the latents"
                )
            raise IntakeError(
                "called twice with the same latents it gives different images, because forward changes the module "
                "itself: write a forward that leaves buffers and attributes unchanged"
            )
        names = list(dict.fromkeys(_differing(module, twin)))
        what = f"{names[0]} is" if names else "something is"
        raise IntakeError(
            "the weights file is incomplete: constructed twice with the same weights, it gives different images, "
            f"because {what} drawn at random when it is constructed, or called for the first time, and not saved; make "
            "it a buffer (register_buffer) and save again, or set it to the values it had in training"
        )


def _seeded_images(module: nn.Module, convention: Convention, z: Tensor, label: Tensor | None) -> Tensor:
    """What forward draws with one state for the random numbers of Python and NumPy as well."""
    with random_state(0):
        return image_of(run_once(module, convention, z, label), convention)


def _equal(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors are the same; those without values, which can't be compared, count as such."""
    try:
        with RefuseFreed():  # type: ignore[no-untyped-call]
            return torch.equal(one, other)
    except (IntakeError, RuntimeError):
        return True


def _differing(module: nn.Module, twin: nn.Module) -> Iterator[str]:
    """Names of tensors that are not the same in both: those of the file are."""
    others = dict(twin.named_modules())
    for path, one in module.named_modules():
        other = others.get(path)
        tensors = vars(one) | dict(one.named_buffers(recurse=False)) | dict(one.named_parameters(recurse=False))
        for name, value in tensors.items():
            full = f"{path}.{name}".lstrip(".")
            again = getattr(other, name, None)
            if not isinstance(value, Tensor) or not isinstance(again, Tensor):
                continue
            if not _equal(value, again):
                yield full
