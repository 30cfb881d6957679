"""Runs that are too large for the machine end in one line that says what to make smaller."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from gan_training.config import TrainConfig
from gan_training.data import ImageData
from gan_training.outcome import OutOfMemoryError
from gan_training.run import Run
from gan_training.watch.memorisation import MemorisationCheck

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/statm").exists(), reason="the memory of a process is looked up in /proc"
)


@contextmanager
def little_memory(left: int) -> Iterator[None]:
    """No more than so many bytes besides what this process has by now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + left, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@pytest.mark.parametrize(
    "large",
    [{"batch_size": 65536}, {"batch_size": 1024}, {"generator_width": 2048, "max_width": 8192}],
    ids=lambda large: str(next(iter(large.items()))),
)
def test_a_run_too_large_for_memory_names_what_takes_it(tmp_path: Path, large: dict[str, int]):
    np.savez(tmp_path / "data.npz", images=np.zeros((8, 128, 128), np.uint8))
    config = TrainConfig.for_type("dcgan", f"npz:{tmp_path / 'data.npz'}", steps=1, device="cpu", report=False, **large)
    words = (
        f"not enough memory: batch_size is {config.batch_size}, generator_width {config.generator_width}, "
        f"critic_width {config.critic_width}; give a smaller --batch-size"
    )
    with pytest.raises(OutOfMemoryError) as caught, little_memory(2**29):
        Run.fresh(config, tmp_path / "run").train(lambda _: None)
    assert str(caught.value).startswith(words)
    assert "\n" not in str(caught.value)


def test_copies_are_looked_for_in_parts_of_the_images() -> None:
    """As floats all at once they would take 1.1 GiB."""
    data = ImageData(torch.zeros(6000, 3, 128, 128, dtype=torch.uint8), None, (), "toy")
    with little_memory(3 * 2**28):
        ratio, _ = MemorisationCheck(data, 0).check(data.images[:8])
    assert ratio == 1
