"""Which images the user asks for, from the options that say so."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gan_client.errors import InvalidArgumentError, counted
from gan_client.labels import parse_seeds

from .options import labels_of, latents_of, one_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from gan_client.arguments import Label
    from gan_client.calls import RenderFormat
    from gan_client.client import GanClient
    from gan_client.images import Generation
    from gan_client.rendered import Rendered


@dataclass(frozen=True)
class SampleArguments:
    """The arguments of `client.generate`."""

    n: int
    label: Label | list[Label] | None
    seed: int | None
    seeds: list[int] | None
    latents: NDArray[np.float64] | None
    truncation: float | None
    model: str | None

    @property
    def count(self) -> str:
        """`1 image`, `64 images`."""
        return counted(self.n, "image", "images")

    def generate(self, client: GanClient) -> Generation:
        """The images. Raises GanError."""
        return client.generate(
            self.n, self.label, seed=self.seed, seeds=self.seeds, latents=self.latents,
            truncation=self.truncation, model=self.model,
        )  # fmt: skip

    def render(self, client: GanClient, wanted: RenderFormat, columns: int | None, quality: int | None) -> Rendered:
        """The images as one file of the service. Raises GanError."""
        return client.render(
            self.n, self.label, seed=self.seed, seeds=self.seeds, latents=self.latents,
            truncation=self.truncation, model=self.model, format=wanted, columns=columns, quality=quality,
        )  # fmt: skip


def sample_arguments_of(
    client: GanClient,
    *,
    n: int | None,
    each: int | None,
    label: str | None,
    label_list: str | None,
    seed: int | None,
    seed_list: str | None,
    latents: Path | None,
    truncation: float | None,
    model: str | None,
) -> SampleArguments:
    """What the options of the same names come to. Asks the service only for --each without labels: which classes.

    Raises GanError.
    """
    one_of(n=n, each=each)
    one_of(seed=seed, seeds=seed_list, latents=latents)
    chosen = labels_of(label, label_list)
    given = latents_of(latents)
    if given is not None:
        model = model or given.model
    seeds = None if seed_list is None else parse_seeds(seed_list)
    if each is not None:
        chosen = _each(client, each, chosen, model)
        count = len(chosen)
    else:
        if chosen is None and given is not None and given.labels is not None:
            chosen = [*given.labels]
        count = _count(n, seeds, None if given is None else len(given.latents), chosen)
        if isinstance(chosen, list):
            chosen = [chosen[i % len(chosen)] for i in range(count)]
    rows = None if given is None else given.latents
    return SampleArguments(count, chosen, seed, seeds, rows, truncation, model)


def _count(n: int | None, seeds: list[int] | None, latents: int | None, labels: object) -> int:
    for count in (n, None if seeds is None else len(seeds), latents):
        if count is not None:
            return count
    return len(labels) if isinstance(labels, list) else 1


def _each(client: GanClient, each: int, chosen: Label | list[Label] | None, model: str | None) -> list[Label]:
    """`each` labels of one class, then of the next: a row for each class in `each` columns."""
    if chosen is None:
        from gan_client.catalog import model_named

        info = model_named(client, model)
        if info.class_names is None:
            raise InvalidArgumentError(
                f"each is {each}: the generator {info.name!r} has no classes, give --n", param="each"
            )
        chosen = [*range(len(info.class_names))]
    return [label for label in (chosen if isinstance(chosen, list) else [chosen]) for _ in range(each)]
