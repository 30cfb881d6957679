"""What the caller of `export` asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gan_export.artifact.certificate import Options
from gan_export.artifact.providers import Provider

ProgressFn = Callable[[str], None]


@dataclass(frozen=True)
class Recipe:
    """How an artifact is made; the fields are as for `export`."""

    options: Options
    variants: frozenset[str]
    providers: tuple[Provider, ...]
    portable: bool
    for_gpu: bool
    progress: ProgressFn
