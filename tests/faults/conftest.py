"""A source and an artifact of the good generator that all faults are planted into."""

from __future__ import annotations

from collections.abc import Callable

import planted
import pytest
import torch
from torch import nn

from gan_export.artifact import SAMPLER, ImageSpec, LatentSpec
from gan_export.package import Exported, export
from gan_export.source import Source

SourceOfFn = Callable[[nn.Module], Source]


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def source_of() -> SourceOfFn:
    def make(generator: nn.Module) -> Source:
        return Source(
            generator=generator,
            family="test/planted",
            hyperparameters={},
            latent=LatentSpec(dim=planted.LATENT_DIM, distribution="normal", sampler=SAMPLER),
            image=ImageSpec(height=planted.SIZE, width=planted.SIZE, channels=1, mode="L", value_range=(-1.0, 1.0)),
            class_names=["a", "b", "c"],
            sha256="0" * 64,
            weights="raw",
            training={},
        )

    return make


@pytest.fixture(scope="session")
def good(source_of: SourceOfFn, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return export(source_of(planted.Good()), "good", tmp_path_factory.mktemp("faults") / "good")
