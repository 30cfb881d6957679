"""The format of torch.save before 1.6: five pickles, and then each storage's length and bytes."""

from __future__ import annotations

import io
import os
import struct
from typing import Any, BinaryIO, Final

from gan_export.refusal import IntakeError

from .limits import Limits
from .pickles import Evaluation
from .storages import Storages
from .symbols import ITEM_BYTES, MalformedError, Storage
from .tree import Tree, read_tree

MAGIC: Final = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # the pickle of a number that torch.save begins with
VERSION: Final = 1001
_LENGTH: Final = struct.Struct("<q")


def audit_legacy(file: BinaryIO, limits: Limits) -> Tree:
    """What the file holds.

    Raises:
        IntakeError: the reason why it is not read.
    """
    size = os.fstat(file.fileno()).st_size
    file.seek(len(MAGIC))
    head = io.BytesIO(file.read(limits.max_pickle_bytes))
    version = _plain(head, limits)
    if version != VERSION:
        number = version if type(version) is int else "unknown"
        raise IntakeError(f"is of version {number} of torch's old format; {VERSION} can be read")
    system = _plain(head, limits)
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise IntakeError("was not written on a little-endian machine; load it there and save it as safetensors")
    storages = Storages(legacy=True)
    evaluation = Evaluation(storages.load, limits)
    value = evaluation.run(head)
    keys = _plain(head, limits)
    if type(keys) is not list or any(type(key) is not str for key in keys):
        raise MalformedError("its list of storages is damaged")
    _check_data(file, len(MAGIC) + head.tell(), size, [storages.by_key.pop(key, None) for key in keys])
    if storages.by_key:
        raise MalformedError("it is cut off or damaged: a tensor has no data")
    return read_tree(value, evaluation.unusable, size, limits)


def _check_data(file: BinaryIO, position: int, size: int, storages: list[Storage | None]) -> None:
    for storage in storages:
        file.seek(position)
        length = file.read(_LENGTH.size)
        if storage is None or length != _LENGTH.pack(storage.numel):
            raise MalformedError("it is cut off or damaged: the data of a tensor is not where it is declared")
        if storage.dtype not in ITEM_BYTES:
            return  # of no known length; its tensor is refused by name
        position += _LENGTH.size + storage.nbytes
        if position > size:
            raise MalformedError("it is cut off: the data of its last tensors is not all there")
    if position != size:
        raise MalformedError(f"{size - position:,} bytes follow its last tensor")


def _plain(head: BinaryIO, limits: Limits) -> Any:
    evaluation = Evaluation(_no_storage, limits)
    return evaluation.run(head)


def _no_storage(_: tuple[Any, ...]) -> Storage:
    raise MalformedError("its first or last pickle refers to a storage")
