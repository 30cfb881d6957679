"""The usual feature extractor: a small classifier, trained on the given data and cached.

Its last convolutions give the features, averaged over the image as in the Frechet Inception distance. The classifier's
last hidden layer would be the other choice, but a well-trained one forgets there how images of a class differ (neural
collapse: Papyan, Han & Donoho, 2020, arXiv:2008.08186), which is what recall is to measure.

Without labels, or with one class, it learns to tell how far an image was turned (Gidaris et al., 2018,
arXiv:1803.07728).
"""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Final, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gan_training.checkpoint import CheckpointError, save_durably
from gan_training.data import EpochBatches, ImageData
from gan_training.device import has_native_bf16
from gan_training.files.atomic import part_of
from gan_training.files.cache import cache_folder
from gan_training.files.lock import alone_with

HIDDEN: Final = 128
VERSION: Final = 3  # of everything below that changes the weights
STEPS: Final = 1400  # at most
EPOCHS: Final = 100  # at most: of 400 digits, 92.7 % of new ones are told after 100 epochs, and 92.9 % after 200
BATCH: Final = 128  # images
PEAK_LR: Final = 4e-3
WEIGHT_DECAY: Final = 1e-2
DROPOUT: Final = 0.3
HELD_OUT: Final = 0.1  # share of the data that measures accuracy, if no test data are given
TURNS: Final = 4
_CHUNK = 500  # images in a forward pass


class FeatureNet(nn.Module):
    """uint8 (N, C, S, S) -> features (N, D) and class logits (N, K); D is 64 or 128, by the size of the images."""

    def __init__(self, image_size: int, channels: int, classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width, size = channels, image_size
        for wider in (32, 64, 128, 128):
            if size <= 8:
                break
            layers += [*_conv(width, wider, 1), *_conv(wider, wider, 2)]
            width, size = wider, (size + 1) // 2
        self.convolutions = nn.Sequential(*layers)
        self.classify = nn.Sequential(
            nn.Flatten(),
            nn.Dropout(DROPOUT),
            nn.Linear(width * size**2, HIDDEN),
            nn.BatchNorm1d(HIDDEN),
            nn.ReLU(inplace=True),
            nn.Linear(HIDDEN, classes),
        )

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        x = images.float() / 127.5 - 1
        maps: Tensor = self.convolutions(x.contiguous(memory_format=torch.channels_last))
        return maps.mean((2, 3)), self.classify(maps)


def _conv(width: int, wider: int, stride: int) -> list[nn.Module]:
    return [nn.Conv2d(width, wider, 3, stride, padding=1), nn.BatchNorm2d(wider), nn.ReLU(inplace=True)]


class FeatureExtractor(Protocol):
    """What metrics see of an image: the features of one net, and the class that a classifier takes it for."""

    @property
    def name(self) -> str:
        """Whose features: `classifier` or `inception`."""

    @property
    def fingerprint(self) -> str:
        """8 hex digits of the classifier's weights. Another classifier, also of the same data, is another measure."""

    @property
    def accuracy(self) -> float | None:
        """Share of images it has not seen that its classifier gets right; of turns, where there are no labels.

        None where it tells classes, and the images that it has not seen have no labels.
        """

    @property
    def has_classes(self) -> bool:
        """False where the data have no labels, or one class, so that its classifier tells turns."""

    def extract(self, images: Tensor, progress: Callable[[int, int], None] | None = None) -> tuple[Tensor, Tensor]:
        """uint8 (N, C, S, S) -> features (N, D) float32 and predicted classes (N,) int64; tells (images done, N)."""


@dataclass(frozen=True)
class ClassifierExtractor:
    """A trained feature net, and how well it classifies images that it has not seen; a `FeatureExtractor`."""

    net: FeatureNet
    accuracy: float | None  # on held-out images; of turns, where it tells these; None if it can't be told
    has_classes: bool  # False where it tells turns

    @property
    def name(self) -> str:
        return "classifier"

    @cached_property
    def fingerprint(self) -> str:
        digest = hashlib.sha256()
        for value in self.net.state_dict().values():
            digest.update(value.contiguous().numpy().tobytes())
        return digest.hexdigest()[:8]

    @torch.no_grad()
    def extract(self, images: Tensor, progress: Callable[[int, int], None] | None = None) -> tuple[Tensor, Tensor]:
        """uint8 (N, C, S, S) -> features (N, D) float32 and predicted classes (N,) int64; tells (images done, N)."""
        features, predicted = [], []
        for start in range(0, len(images), _CHUNK):
            found, logits = self.net(images[start : start + _CHUNK])
            features.append(found.float())
            predicted.append(logits.argmax(1))
            if progress is not None:
                progress(min(start + _CHUNK, len(images)), len(images))
        return torch.cat(features), torch.cat(predicted)


def extractor_for(
    data: ImageData, test: ImageData, cache: Path | None = None, progress: Callable[[int, int], None] | None = None
) -> ClassifierExtractor:
    """The extractor for `data`, from the cache or trained now: about a minute on two cores, for 28x28 images.

    Less for few images; 8 and 35 times as long for 64x64 and 128x128 RGB.

    Args:
        data: images to train on, with labels if there are classes. One class alone teaches nothing: it is left aside.
        test: other images of the same kind, by which its accuracy is measured.
        cache: folder; default `$GAN_CACHE` or `~/.cache/ganworks`. One that can't be used costs the time, no more.
        progress: told (steps done, steps).
    """
    if data.classes == 1:
        data = replace(data, labels=None, class_names=())
    path = _cached_at(data, cache)
    classes = data.classes or TURNS
    net = FeatureNet(data.image_size, data.channels, classes).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    progress = progress or (lambda *_: None)
    if path is None:
        _train(net, data, progress)
    elif not _is_read(net, path):
        _train_alone(net, data, path, progress)
    extractor = ClassifierExtractor(net.eval(), None, bool(data.classes))
    images, labels = (test.images, test.labels) if data.classes else _turned(test.images)
    if labels is None:
        return extractor
    _, predicted = extractor.extract(images)
    accuracy = float((predicted == labels).float().mean())
    return ClassifierExtractor(extractor.net, accuracy, extractor.has_classes)


def _cached_at(data: ImageData, cache: Path | None) -> Path | None:
    """Where its weights are kept; None where there is no folder for them."""
    try:
        folder = cache or cache_folder()
    except OSError:
        return None
    return folder / f"ruler-{_key(data)}.pt"  # by this name caches of earlier versions hold it


def _is_read(net: FeatureNet, path: Path) -> bool:
    """Whether the net has the weights at `path` now; False where there are none, or they are damaged."""
    try:
        net.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    except (OSError, EOFError, RuntimeError, ValueError, TypeError, KeyError, AttributeError, pickle.UnpicklingError):
        return False
    return True


def _train_alone(net: FeatureNet, data: ImageData, path: Path, progress: Callable[[int, int], None]) -> None:
    """Train and keep the weights at `path`; another process that wants the same ones waits, and takes these."""
    with ExitStack() as stack, suppress(CheckpointError):  # a full disk: this process has its net all the same
        part = part_of(path)
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(alone_with(part))
        if _is_read(net, path):
            part.unlink()
            return
        try:
            _train(net, data, progress)
        except BaseException:
            with suppress(OSError):
                part.unlink(missing_ok=True)
            raise
        save_durably(net.state_dict(), path)


def _train(net: FeatureNet, data: ImageData, progress: Callable[[int, int], None]) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)  # torch.manual_seed would change GPUs' too, for good
        net.apply(_reset)
        batches = EpochBatches(data, max(2, min(BATCH, len(data))), seed=0)  # BatchNorm needs two
        optimizer = torch.optim.AdamW(net.parameters(), PEAK_LR, weight_decay=WEIGHT_DECAY, fused=True)
        # By what the processor has and not by what is fast: machines of a kind are to get the same classifier.
        steps, is_bf16 = _steps_for(len(data)), has_native_bf16()
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_LR, total_steps=steps)
        net.train()
        for step in range(steps):
            images, labels = next(batches)
            images = (images + 1) * 127.5
            if labels is None:
                images, labels = _turned(images)
            with torch.autocast("cpu", torch.bfloat16, enabled=is_bf16):
                logits = net(images)[1]
            loss = F.cross_entropy(logits.float(), labels)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            progress(step + 1, steps)


def _steps_for(images: int) -> int:
    """How long to train on so many."""
    return min(STEPS, EPOCHS * -(-images // BATCH))


def _turned(images: Tensor) -> tuple[Tensor, Tensor]:
    """Image i turned by i mod 4 quarters, and those numbers."""
    turns = torch.arange(len(images)) % TURNS
    return torch.stack([image.rot90(int(turn), (1, 2)) for image, turn in zip(images, turns, strict=True)]), turns


def _reset(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.Linear | nn.BatchNorm1d | nn.BatchNorm2d):
        module.reset_parameters()


def _key(data: ImageData) -> str:
    digest = hashlib.sha256(f"{VERSION} {tuple(data.images.shape)} {data.classes}".encode())
    digest.update(data.images.numpy().reshape(-1).data)  # no copy: the images may be larger than memory
    if data.labels is not None:
        digest.update(data.labels.numpy().data)
    return digest.hexdigest()[:16]
