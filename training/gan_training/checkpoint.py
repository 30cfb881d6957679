"""Checkpoints: written atomically, read as data and never as code."""

from __future__ import annotations

import pickle
import unicodedata
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import torch
from torch import Tensor

from .config import TrainConfig
from .errors import first_line
from .files.atomic import write_atomically
from .fit import check_state_fits
from .nets import Critic, Generator
from .specs import CriticSpec, GeneratorSpec

FORMAT: Final = "ganworks.checkpoint"
VERSION: Final = 1
CHECKPOINT: Final = "ckpt.pt"
BEST: Final = "best.pt"
"""In a run's folder: its latest state, and the one with the best evaluation."""
Weights = Literal["ema", "raw"]
"""A generator's averaged weights, or its own."""


class CheckpointError(ValueError):
    """A file that is no checkpoint of ours, or one that is damaged; the message is one line for the user."""


@dataclass(frozen=True)
class Checkpoint:
    """All that a run needs to go on, and all that rebuilds its nets."""

    config: TrainConfig
    generator_spec: GeneratorSpec
    critic_spec: CriticSpec
    class_names: tuple[str, ...]  # empty for an unconditional generator
    trainer: dict[str, Any]  # Trainer.state_dict()
    batches: dict[str, int]  # EpochBatches.state_dict()
    seconds: float  # training time so far
    history: list[dict[str, float]]  # the lines of metrics.jsonl
    data_sha256: str | None = None  # ImageData.digest() of the training set; None in older checkpoints
    data_at: str | None = None  # the configuration's data with the whole path; None in older checkpoints
    precision: str | None = None  # fp32 or bf16, where the configuration has auto; None in older checkpoints

    @property
    def step(self) -> int:
        """Generator updates done."""
        return int(self.trainer["steps_done"])

    def generator(self, weights: Weights = "ema") -> Generator:
        """The generator in eval mode, with its averaged (`ema`) or its own (`raw`) weights."""
        net = Generator(self.generator_spec)
        net.load_state_dict(self.trainer["ema" if weights == "ema" else "generator"])
        return net.eval()


def save_checkpoint(checkpoint: Checkpoint, path: Path) -> None:
    """Write the checkpoint atomically; raises CheckpointError as `save_durably` does."""
    content = {
        "format": FORMAT,
        "version": VERSION,
        "config": checkpoint.config.to_dict(),
        "generator_spec": checkpoint.generator_spec.to_dict(),
        "critic_spec": checkpoint.critic_spec.to_dict(),
        "class_names": list(checkpoint.class_names),
        "trainer": checkpoint.trainer,
        "batches": checkpoint.batches,
        "seconds": checkpoint.seconds,
        "history": checkpoint.history,
        "data_sha256": checkpoint.data_sha256,
        "data_at": checkpoint.data_at,
        "precision": checkpoint.precision,
    }
    save_durably(content, path)


def save_durably(content: object, path: Path) -> None:
    """torch.save to `path`, atomically and on disk when this returns.

    Raises:
        CheckpointError: the disk is full or the folder can't be written; the previous file is untouched.
    """

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:  # Python's: its OSError says what is wrong with the disk
            torch.save(content, file)

    try:
        write_atomically(path, write, is_durable=True)
    except (OSError, RuntimeError) as error:
        # torch's writer hides the disk's complaint behind one of its own.
        cause = error.__context__ if isinstance(error.__context__, OSError) else error
        reason = (isinstance(cause, OSError) and cause.strerror) or first_line(cause)
        raise CheckpointError(f"{path}: can't be written: {reason}") from error


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint of this project with `weights_only=True`.

    Raises:
        CheckpointError: no such file, not a checkpoint of ours, damaged, or of a newer version.
    """
    try:
        if not path.is_file():
            raise CheckpointError(f"{path}: no such file" if not path.exists() else f"{path}: is not a file")
        path.open("rb").close()
    except OSError as error:
        raise CheckpointError(f"{path}: can't be read: {error.strerror or error}") from error
    if not zipfile.is_zipfile(path):
        raise CheckpointError(f"{path}: is not a checkpoint of gan-train, or is cut off: no zip archive")
    damaged = _damaged_member(path)
    if damaged:
        raise CheckpointError(f"{path}: the checkpoint is damaged: {damaged} does not have its checksum")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # Our own words: torch's advise to load the file without the restriction.
        reason = "it is damaged, or holds more than tensors and plain values"
        raise CheckpointError(f"{path}: is not a checkpoint that is safe to load: {reason}") from error
    except Exception as error:  # what an unpickler says of damaged bytes can be of any type
        raise CheckpointError(f"{path}: is not a checkpoint that can be read: {first_line(error)}") from error
    try:
        return parse_checkpoint(content)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error


def parse_checkpoint(content: object) -> Checkpoint:
    """What a checkpoint file holds, as plain values and tensors, made into a Checkpoint.

    Raises:
        CheckpointError: it is not of gan-train, of a newer version, or lacks something.
    """
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise CheckpointError(f"is not a checkpoint of gan-train (no {FORMAT!r} mark in it)")
    version = content.get("version")
    if type(version) is not int or version != VERSION:
        raise CheckpointError(f"checkpoint version {version!r}; this ganworks reads {VERSION}")
    try:
        return _from_content(content)
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"the checkpoint is damaged: {first_line(error)}") from error


def _from_content(content: dict[str, Any]) -> Checkpoint:
    trainer = content["trainer"]
    if not all(isinstance(v, Tensor) for key in ("generator", "critic", "ema") for v in trainer[key].values()):
        raise TypeError("a state dict holds something that is not a tensor")
    if type(trainer["steps_done"]) is not int or not isinstance(content["history"], list):
        raise TypeError("the number of steps or the history is missing")
    if not all(isinstance(line, dict) and "step" in line for line in content["history"]):
        raise TypeError("its history holds something that is not a line of metrics.jsonl")
    if not isinstance(content.get("data_at"), str | None):
        raise TypeError("the place of its data is not text")
    checkpoint = Checkpoint(
        config=TrainConfig.from_dict(content["config"]),
        generator_spec=GeneratorSpec.from_dict(content["generator_spec"]),
        critic_spec=CriticSpec.from_dict(content["critic_spec"]),
        class_names=tuple(unicodedata.normalize("NFC", str(name)) for name in content["class_names"]),
        trainer=trainer,
        batches=content["batches"],
        seconds=float(content["seconds"]),
        history=content["history"],
        data_sha256=content.get("data_sha256"),
        data_at=content.get("data_at"),
        precision=content.get("precision"),
    )
    if len(checkpoint.class_names) != checkpoint.generator_spec.classes:
        raise ValueError(f"{len(checkpoint.class_names)} class names for {checkpoint.generator_spec.classes} classes")
    # Weights that don't fit the specs are found here, while the path is still at hand.
    _check_nets(checkpoint)
    return checkpoint


def _check_nets(checkpoint: Checkpoint) -> None:
    """Raises ValueError if the weights are not those of the specs' nets, or RuntimeError if no net is so large."""
    layers, weights = checkpoint.generator_spec.mapping_layers, checkpoint.trainer
    for name in ("ema", "generator"):
        if layers > len(weights[name]):
            raise ValueError(f"mapping_layers is {layers:,}, and its {name} weights have {len(weights[name])} tensors")
        check_state_fits(lambda: Generator(checkpoint.generator_spec), weights[name], name)
    check_state_fits(lambda: Critic(checkpoint.critic_spec), weights["critic"], "critic")


def _damaged_member(path: Path) -> str | None:
    """The first member whose bytes don't fit their CRC, which torch.load would not notice; None if all do."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip()
    except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        return f"the archive ({first_line(error)})"
