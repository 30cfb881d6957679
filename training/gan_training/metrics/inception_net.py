"""torch-fidelity's Inception with its published weights. Both are optional, and nothing is downloaded."""

from __future__ import annotations

import hashlib
import importlib
import io
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final
from unittest import mock

import torch
from torch import Tensor, nn

from gan_training.files.cache import cache_folder

WEIGHTS_VARIABLE: Final = "GAN_INCEPTION_WEIGHTS"
WEIGHTS_FILE: Final = "weights-inception-2015-12-05-6726825d.pth"  # of torch-fidelity's release v0.2.0
HASH: Final = "6726825d"  # what the file's SHA-256 begins with


class InceptionError(ValueError):
    """Inception can't measure; the message is one line for the user."""


class InceptionMissingError(InceptionError):
    """The weights are not on disk, or torch-fidelity can't be imported."""


def load_inception() -> nn.Module:
    """torch-fidelity's Inception in eval mode, on the CPU, with the weights that `find_weights` finds.

    Raises:
        InceptionMissingError: no weights, or torch-fidelity can't be imported.
        InceptionError: the weights are damaged, or of another net.
    """
    path = find_weights()
    try:
        module = importlib.import_module("torch_fidelity.feature_extractor_inceptionv3")
    except Exception as error:  # what a package with native code says when it doesn't load can be of any type
        reason = f"torch-fidelity can't be imported ({' '.join(str(error).split())})"
        raise InceptionMissingError(f"{reason}; install it with: pip install torch-fidelity") from error
    state = read_weights(path)
    try:
        # Its constructor unpickles whatever is in a file whose path it is given, and without a path it downloads.
        with mock.patch.object(module, "load_state_dict_from_url", return_value=state):
            net: nn.Module = module.FeatureExtractorInceptionV3("inception", ["2048"])
    except (AttributeError, RuntimeError) as error:
        raise InceptionError(f"{path}: these are not weights of the Inception of the torch-fidelity here") from error
    return net.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def find_weights() -> Path:
    """The file that $GAN_INCEPTION_WEIGHTS names; where that is not set, torch hub's or else the one in our cache.

    Raises:
        InceptionMissingError: no such file; the message says where it was looked for and how to get it.
    """
    named = os.environ.get(WEIGHTS_VARIABLE)
    places = [Path(named)] if named else [folder / WEIGHTS_FILE for folder in _folders()]
    for place in places:
        if place.is_file():
            return place
    raise InceptionMissingError(
        f"no weights of Inception: no file {' or '.join(map(str, places))}; torch-fidelity publishes {WEIGHTS_FILE} "
        f"on GitHub with its release v0.2.0: put it there, or name it in {WEIGHTS_VARIABLE}"
    )


def _folders() -> Iterator[Path]:
    yield Path(torch.hub.get_dir(), "checkpoints")
    with suppress(OSError):  # no home folder
        yield cache_folder()


def read_weights(path: Path) -> dict[str, Any]:
    """A state dict, read with `weights_only=True`; a file under its published name must have the hash in the name.

    Raises:
        InceptionError: unreadable, damaged, or something other than finite tensors in it.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InceptionError(f"{path}: can't be read: {error.strerror}") from error
    begins = hashlib.sha256(content).hexdigest()[: len(HASH)]
    if path.name == WEIGHTS_FILE and begins != HASH:
        raise InceptionError(f"{path}: is damaged: its SHA-256 begins with {begins}, not {HASH}; get it again")
    try:
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # what an unpickler says of damaged bytes can be of any type
        raise InceptionError(f"{path}: is damaged, or holds more than weights; get {WEIGHTS_FILE} again") from error
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) and v.isfinite().all() for v in state.values()):
        raise InceptionError(f"{path}: holds something other than finite weights; get {WEIGHTS_FILE} again")
    return state
