"""Small labelled data and runs small enough to train in a blink, shared by the tests of the training wing."""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from gan_training.config import TrainConfig
from gan_training.data import ImageData
from gan_training.runs.run import Run

TINY = {
    "steps": 6,
    "batch_size": 8,
    "latent_dim": 6,
    "generator_width": 6,
    "critic_width": 6,
    "embed_dim": 4,
    "log_every": 1,
    "checkpoint_every": 1000,
    "sample_every": 1000,
    "report": False,  # a second for each run
    "precision": "fp32",
    "device": "cpu",
}
"""Settings of a net with a few thousand weights; batches are smaller than an epoch, so that the order matters."""


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Bit for bit is promised for one thread count; one is also quickest for nets this small."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def sigint() -> Iterator[None]:
    """Python's own handler of SIGINT, also where the test run was started with the signal ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of everything that is kept between runs; not there yet."""
    monkeypatch.setenv("GAN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def toy_data() -> Callable[..., ImageData]:
    """Noise images with labels that take turns."""

    def make(n: int = 52, classes: int = 5, channels: int = 1, size: int = 16) -> ImageData:
        images = torch.randint(0, 256, (n, channels, size, size), generator=torch.Generator().manual_seed(1))
        names = tuple(f"class {i}" for i in range(classes))
        labels = torch.arange(n) % classes if classes else None
        return ImageData(images.to(torch.uint8), labels, names, "toy")

    return make


@pytest.fixture
def make_run(toy_data: Callable[..., ImageData]) -> Callable[..., Run]:
    """`make_run(type, out, **settings)`: a fresh tiny run on the toy data."""

    def make(gan_type: str, out: Path, data: ImageData | None = None, **settings: Any) -> Run:
        config = TrainConfig.for_type(gan_type, "toy", TINY, **settings)
        return Run(config, out, toy_data() if data is None else data)

    return make


@pytest.fixture
def ckpt(make_run, tmp_path) -> Path:
    """A checkpoint of a tiny conditional run, after 4 steps."""
    return make_run("cgan", tmp_path / "run", steps=4).train(lambda _: None)
