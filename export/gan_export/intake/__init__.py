"""From a file that nobody vouches for to plain tensors, or a clear refusal; nothing in the file is ever run."""

from __future__ import annotations

import hashlib
import os
import stat
import subprocess
import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from gan_export.refusal import IntakeError
from gan_export.untrusted.confined import MIB, explain_failure, run_confined
from gan_export.untrusted.messages import shown
from gan_export.untrusted.temporary import no_room

from .audit import audit
from .kinds import Format
from .limits import Limits
from .symbols import TensorRef, size_text
from .tree import Tree

__all__ = ["Contents", "Format", "Limits", "check_finite", "read_contents"]


@dataclass(frozen=True)
class Contents:
    """What a file holds."""

    tree: dict[str, Any] | list[Any]  # dicts with text keys, lists, CPU tensors, int, float, str, bool and None
    sha256: str  # of the file
    format: Format


def read_contents(path: Path, limits: Limits | None = None) -> Contents:
    """Read a checkpoint or a state dict that somebody else wrote.

    A private copy is audited as bytes, and only what passes is loaded, in a process of its own. What the two find must
    agree. Tensors stay mapped from a file that has no name any more.

    Args:
        path: a file of torch.save, in its present format or the one before 1.6, or a safetensors file.
        limits: how much it may ask for.

    Raises:
        IntakeError: missing, of another kind, damaged, too large, or it would run code; one line with the path.
    """
    limits = limits or Limits()
    try:
        with _private_copy(path, limits) as (copy, sha256):
            with copy.open("rb") as file:
                form, tree = audit(file, path, limits)
            if form == "safetensors":
                found = load_file(copy)
                tensors = [found.get(name) for name in tree.content]
            else:
                tensors = _unpickle(copy, limits, mapped=form == "zip")
            return Contents(_filled(tree, tensors), sha256, form)
    except OSError as error:
        reason = no_room(error) or f"can't be read: {error.strerror or error}"
        raise IntakeError(f"{path}: {reason}") from error
    except SafetensorError as error:
        raise IntakeError(f"{path}: is damaged: {shown(error)}") from error
    except IntakeError as error:
        raise IntakeError(f"{path}: {error}") from error


def check_finite(tensors: Mapping[str, Tensor], may_be_infinite: Collection[str] = ()) -> None:
    """Raises IntakeError that names the first tensor with NaN or infinite values; of some, with NaN."""
    for name, tensor in tensors.items():
        if name in may_be_infinite and not tensor.isnan().any():
            continue
        if not tensor.isfinite().all():
            raise IntakeError(f"{shown(name)} holds NaN or infinite values; export an earlier checkpoint")


@contextmanager
def _private_copy(path: Path, limits: Limits) -> Iterator[tuple[Path, str]]:
    """A copy that nobody else changes between the audit and the reading, and its sha256; gone on leaving."""
    with tempfile.TemporaryDirectory(prefix="gan-export-") as folder:
        copy, digest, size = Path(folder, "weights"), hashlib.sha256(), 0
        with open(path, "rb", opener=_open_at_once) as source:
            if not stat.S_ISREG(os.fstat(source.fileno()).st_mode):
                raise IntakeError("is not a file")
            with copy.open("wb") as target:
                while chunk := source.read(MIB):
                    size += len(chunk)
                    if size > limits.max_file_bytes:
                        raise IntakeError(f"is larger than {size_text(limits.max_file_bytes)}; save the weights alone")
                    digest.update(chunk)
                    target.write(chunk)
        yield copy, digest.hexdigest()


def _open_at_once(path: str, flags: int) -> int:
    """Open without waiting for the writer of a pipe."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _unpickle(copy: Path, limits: Limits, *, mapped: bool) -> list[Tensor | None]:
    """The tensors that torch.load finds, in order, by way of a file of plain bytes."""
    target = copy.with_name("tensors")
    memory = limits.memory_bytes + (copy.stat().st_size if mapped else 0)
    bounds = (memory, limits.max_tensor_bytes, limits.seconds)
    arguments = [str(copy), str(target), *map(str, bounds)]
    try:
        done = run_confined("gan_export.intake.reader", arguments, limits.seconds)
    except subprocess.TimeoutExpired as error:
        raise IntakeError(
            f"could not be read within {limits.seconds} s; try again when the machine is less busy, or save the "
            "generator's weights alone"
        ) from error
    if done.returncode:
        raise IntakeError(_reason(done, limits))
    found = load_file(target)
    return [found.get(str(i)) for i in range(len(found))]


def _reason(done: subprocess.CompletedProcess[str], limits: Limits) -> str:
    """Why the reader failed, in our own words: torch's advise to load the file without the restriction."""
    return explain_failure(
        done,
        "read" if done.stdout else "",
        f"takes more than {size_text(limits.memory_bytes)} of memory to read; save the generator's weights alone",
        instead=", or save the generator's weights alone",
        otherwise="is damaged: torch.load refuses it with weights_only=True",
    )


def _filled(tree: Tree, tensors: list[Tensor | None]) -> dict[str, Any] | list[Any]:
    """The audited tree with its tensors; raises IntakeError if they are not the ones that were audited."""
    declared = [(getattr(torch, ref.dtype), ref.size) for ref in tree.tensors]
    if declared != [tensor is not None and (tensor.dtype, tuple(tensor.shape)) for tensor in tensors]:
        raise IntakeError("is damaged: torch.load finds different tensors than the file declares")
    found = dict(zip(map(id, tree.tensors), tensors, strict=True))

    def fill(value: Any) -> Any:
        if isinstance(value, TensorRef):
            return found[id(value)]
        if isinstance(value, dict):
            return {key: fill(item) for key, item in value.items()}
        return [fill(item) for item in value] if isinstance(value, list) else value

    filled: dict[str, Any] | list[Any] = fill(tree.content)
    return filled
