"""Manifests to plan requests against, and a session for the batcher that tells what it was made to compute."""

import asyncio
import gc
import hashlib
import logging
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import v2_requests
from house import House
from key_files import ALICE, BOB, CAROL

from gan_export.artifact import SAMPLER, ImageSpec, LatentSpec, Manifest, Properties, Provenance, TensorSpec, Variant
from gan_export.artifact.manifest import Golden
from gan_serving.batching.batcher import Batcher

PATIENCE = 30.0  # seconds until a test that hangs is ended

MakeManifestFn = Callable[..., Manifest]


@pytest.fixture(scope="session")
def make_manifest() -> MakeManifestFn:
    def make(class_names: Sequence[str] | None = None, *, dim: int = 3, distribution: str = "normal") -> Manifest:
        inputs = [TensorSpec(name="z", dtype="float32", shape=["batch", dim])]
        if class_names is not None:
            inputs.append(TensorSpec(name="label", dtype="int64", shape=["batch"]))
        return Manifest(
            name="toy",
            family="test/family",
            hyperparameters={},
            latent=LatentSpec(dim=dim, distribution=distribution, sampler=SAMPLER),
            class_names=None if class_names is None else list(class_names),
            image=ImageSpec(height=8, width=8, channels=1, mode="L", value_range=(-1.0, 1.0)),
            inputs=inputs,
            outputs=[
                TensorSpec(name="image", dtype="uint8", shape=["batch", 1, 8, 8]),
                TensorSpec(name="pixels", dtype="float32", shape=["batch", 1, 8, 8]),
            ],
            provenance=Provenance(source_sha256="0" * 64, weights="ema", training={}, packages={}),
            properties=Properties(deterministic=True, batch_invariant=True),
            golden=Golden(file="golden.npz", sha256="0" * 64, images=1),
            variants=[Variant(name="fp32", file="generator.onnx", sha256="0" * 64, images_per_second={})],
        )

    return make


@pytest.fixture(scope="session")
def digits(make_manifest: MakeManifestFn) -> Manifest:
    """Of ten classes, with latents of 16 numbers, as over_http.py's session takes them."""
    return make_manifest([str(i) for i in range(10)], dim=16)


@pytest.fixture(scope="session")
def conditional(make_manifest: MakeManifestFn) -> Manifest:
    """Of the generator that v2_requests.py asks."""
    return make_manifest([f"class {i}" for i in range(v2_requests.CLASSES)], dim=v2_requests.DIM)


class Session:
    """Draws images that tell their latent and label, remembers its batches, and fails where it is told to.

    With `held`, every run waits inside until `let_go` has been called once for it.
    """

    def __init__(self, *, poison: frozenset[int] = frozenset(), held: bool = False, reason: str = "poisoned") -> None:
        self.batches: list[list[int]] = []
        self.poison, self.reason = poison, reason
        self.lanes = 1
        self.inside, self.most_inside = 0, 0
        self.counting = threading.Lock()
        self.entered = threading.Semaphore(0)
        self.gate = threading.Semaphore(0) if held else None

    def run(self, latents: np.ndarray, labels: np.ndarray | None) -> np.ndarray:
        with self.counting:
            self.inside += 1
            self.most_inside = max(self.most_inside, self.inside)
        assert self.inside <= self.lanes, "more runs at a time than lanes"
        try:
            asked = latents[:, 0].astype(int).tolist()
            self.batches.append(asked)
            self.entered.release()
            if self.gate is not None:
                assert self.gate.acquire(timeout=PATIENCE)
            if self.poison.intersection(asked):
                raise RuntimeError(self.reason)
            return self.draw(latents, labels)
        finally:
            with self.counting:
                self.inside -= 1

    @staticmethod
    def draw(latents: np.ndarray, labels: np.ndarray | None) -> np.ndarray:
        """(N, 2) and (N,) -> (N, 1, 2, 2): three digits of the latent to the base 256, and the label."""
        ids = latents[:, 0].astype(np.int64)
        label = np.zeros_like(ids) if labels is None else labels
        assert len(label) == len(ids)
        return np.stack([ids % 256, ids // 256 % 256, ids // 65536, label], 1).astype(np.uint8).reshape(-1, 1, 2, 2)

    @property
    def computed(self) -> list[int]:
        """The latents of all runs, in order."""
        return [i for batch in self.batches for i in batch]

    def let_go(self, runs: int = 10_000) -> None:
        """Let that many runs finish, present or future."""
        assert self.gate is not None
        self.gate.release(runs)

    async def is_running(self) -> None:
        """Until one more run has begun."""
        assert await asyncio.to_thread(self.entered.acquire, timeout=PATIENCE)

    async def ask(self, batcher: Batcher, start: int, n: int, label: int | None = None) -> None:
        """One request for the latents start, start + 1, ...; its images must be those of a direct call."""
        latents = np.stack([np.arange(start, start + n), np.full(n, 0.5)], 1).astype(np.float32)
        labels = None if label is None else np.full(n, label)
        images = await batcher.submit(latents, labels)
        assert images.dtype == np.uint8
        assert np.array_equal(images, self.draw(latents, labels))

    def drive(
        self,
        scenario: Callable[[Batcher], Coroutine[Any, Any, None]],
        *,
        max_batch: int = 64,
        capacity: int = 100_000,
        lanes: int = 1,
    ) -> None:
        """Run a scenario to its end and look that no task, job or unheard exception is left of it."""
        unheard: list[dict[str, Any]] = []
        self.lanes = lanes

        async def main(executor: Executor) -> None:
            asyncio.get_running_loop().set_exception_handler(lambda _, context: unheard.append(context))
            ours = asyncio.all_tasks()
            batcher = Batcher(self.run, max_batch, capacity, executor, lanes=lanes)
            await scenario(batcher)
            while asyncio.all_tasks() - ours or batcher._awake:
                await asyncio.sleep(0)
            assert batcher.waiting == 0
            assert not batcher._queue.clear()
            gc.collect()

        with ThreadPoolExecutor(lanes) as executor:
            try:
                asyncio.run(asyncio.wait_for(main(executor), PATIENCE))
            finally:
                if self.gate is not None:
                    self.let_go()
        assert unheard == []
        assert max(map(len, self.batches), default=0) <= max_batch


@pytest.fixture(scope="session")
def make_session() -> type[Session]:
    return Session


@pytest.fixture
def house(tmp_path: Path) -> House:
    """Without an artifact."""
    return House(tmp_path)


@pytest.fixture
def logged_errors(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """What was logged as an error since the last call."""
    caplog.set_level("INFO", "bentoml.ganworks")

    def take() -> list[str]:
        found = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
        caplog.clear()
        return found

    return take


@pytest.fixture
def no_key_is_told(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Not in any line of the log, whatever a test does."""
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.INFO, "asyncio")  # which selector each loop uses
    yield
    for key in (ALICE, BOB, CAROL):
        assert key not in caplog.text
        assert hashlib.sha256(key.encode()).hexdigest() not in caplog.text
