"""Files of torch.save made by hand, so that they can declare what torch itself would never write."""

import pickle
import sys
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pickles
import pytest
import torch
from commands import PYTHON
from intake_refusal import refusal_of

from gan_export.intake import read_contents
from gan_export.intake.legacy import MAGIC


@pytest.fixture(scope="module", autouse=True)
def _real_python() -> Iterator[None]:
    """The reading process itself is what is tested here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "executable", PYTHON)
        yield


SYSTEM = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}


@pytest.fixture(scope="session")
def call() -> Callable[..., pickles.Call]:
    return pickles.Call


@pytest.fixture(scope="session")
def declare() -> Callable[..., pickles.Call]:
    """A tensor with any size, stride and storage."""

    def make(size, stride, numel=1, offset=0, key="0", kind=torch.FloatStorage, location="cpu", legacy=False):
        identity = ("storage", kind, key, location, numel, *([None] if legacy else []))
        arguments = (pickles.Stored(*identity), offset, size, stride, False, OrderedDict())
        return pickles.Call(torch._utils._rebuild_tensor_v2, *arguments)

    return make


@pytest.fixture(scope="session")
def pickled() -> Callable[[object], bytes]:
    return pickles.pickled


@pytest.fixture
def write_zip(tmp_path: Path) -> Callable[..., Path]:
    """An archive with a pickle and storages, as torch.save would lay it out."""

    def write(data: bytes, storages: dict[str, bytes] | None = None, name: str = "weights.pt") -> Path:
        path = tmp_path / name
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", data)
            archive.writestr("archive/byteorder", "little")
            for key, content in ({"0": bytes(4)} if storages is None else storages).items():
                archive.writestr(f"archive/data/{key}", content)
            archive.writestr("archive/version", "3\n")
        return path

    return write


@pytest.fixture
def write_legacy(tmp_path: Path) -> Callable[..., Path]:
    """The format before 1.6: a pickle, the keys of the storages, their lengths and bytes."""

    def write(data: bytes, keys: tuple[str, ...] = ("0",), storages: bytes = bytes([1, *[0] * 11])) -> Path:
        path = tmp_path / "weights.pt"
        parts = (MAGIC, pickle.dumps(1001, 2), pickle.dumps(SYSTEM, 2), data, pickle.dumps(list(keys), 2), storages)
        path.write_bytes(b"".join(parts))
        return path

    return write


@pytest.fixture
def refusal(scratch: Path) -> Callable[..., str]:
    """What is said of a file of weights that is refused."""
    return lambda path, *limits: refusal_of(partial(read_contents, path, *limits), path, scratch, 400)
