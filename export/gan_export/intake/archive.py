"""The zip format of torch.save: the directory is audited before any member is read."""

from __future__ import annotations

import io
import os
import struct
import zipfile
import zlib
from dataclasses import dataclass
from typing import Any, BinaryIO, Final

from gan_export.refusal import IntakeError
from gan_export.untrusted.confined import MIB
from gan_export.untrusted.messages import shown

from .limits import Limits
from .pickles import ADVICE, Evaluation
from .storages import Storages
from .symbols import ITEM_BYTES, MalformedError, size_text
from .tree import Tree, read_tree

MAGIC: Final = b"PK\x03\x04"
PICKLE: Final = "data.pkl"
MAX_DIRECTORY_BYTES: Final = 8 * MIB
MAX_NAME: Final = 256
_END: Final = struct.Struct("<4s4H2LH")  # end of central directory
_END64: Final = struct.Struct("<4sQ2H2L4Q")
_LOCATOR64: Final = struct.Struct("<4sLQL")
_LOCAL: Final = struct.Struct("<4s5H3L2H")
_ENCRYPTED: Final = 0x1
_SIZES_FOLLOW: Final = 0x8  # the local header leaves sizes to the descriptor behind the data


_OTHERS: Final = {
    ".npy": "an archive of numpy arrays (.npz)",
    "model.weights.h5": "a Keras model",
    "[Content_Types].xml": "an office document",
    ".pb": "a TensorFlow model",
    "models/model.json": "an archive of torch.export (.pt2)",
    "serialized_exported_program.json": "an archive of torch.export (.pt2)",
    ".onnx": "a zip archive of an ONNX model",
}


@dataclass(frozen=True)
class Member:
    """A stored member's bytes in the file."""

    start: int
    size: int
    crc: int


def audit_archive(file: BinaryIO, limits: Limits) -> Tree:
    """What the archive holds.

    Raises:
        IntakeError: the reason why it is not read.
    """
    size = os.fstat(file.fileno()).st_size
    members = _members(file, size, limits)
    if members[PICKLE].size > limits.max_pickle_bytes:
        raise IntakeError(f"its pickle is longer than {size_text(limits.max_pickle_bytes)}; {ADVICE}")
    order = members.get("byteorder")
    if order is not None and _read(file, order, limit=16) != b"little":
        raise IntakeError("was not written on a little-endian machine; load it there and save it as safetensors")
    storages = Storages(legacy=False)
    evaluation = Evaluation(storages.load, limits)
    value = evaluation.run(io.BytesIO(_read(file, members[PICKLE], limits.max_pickle_bytes)))
    for key, storage in storages.by_key.items():
        member = members.get(f"data/{key}")
        if member is None:
            raise MalformedError(f"it is damaged: the data of tensor storage {shown(key)} is missing")
        if storage.dtype in ITEM_BYTES and storage.nbytes != member.size:
            raise MalformedError(
                f"a tensor's storage is declared as {storage.nbytes:,} bytes and stored as {member.size:,}"
            )
    tree = read_tree(value, evaluation.unusable, size, limits)
    for name, member in members.items():
        _check_crc(file, name, member)
    return tree


def _members(file: BinaryIO, size: int, limits: Limits) -> dict[str, Member]:
    """Every member by its name below the archive's one folder; raises IntakeError."""
    infos, directory = _infos(file, size, limits)
    names = [info.filename for info in infos]
    folder = f"{names[0].partition('/')[0]}/"
    _check_kind(names, folder)
    members: dict[str, Member] = {}
    end = 0
    for info in sorted(infos, key=lambda info: info.header_offset):
        member = _member(file, info)
        if info.header_offset < end or member.start + member.size > directory:
            raise MalformedError(f"{shown(info.filename)}: overlaps another member of the archive, or its end")
        end = member.start + member.size
        members[info.filename.removeprefix(folder)] = member
    if len({name.lower() for name in members}) != len(infos):  # torch's own look-up does not mind the case
        raise MalformedError("two members of the archive have the same name")
    return members


def _infos(file: BinaryIO, size: int, limits: Limits) -> tuple[list[zipfile.ZipInfo], int]:
    """The directory's entries, and where it begins; its size is bounded before it is read."""
    count, directory, length = _find_directory(file, size)
    if count > limits.max_members:
        raise IntakeError(f"is a zip archive of {count:,} members; {limits.max_members:,} are allowed")
    if length > MAX_DIRECTORY_BYTES:
        raise MalformedError(f"its zip directory is longer than {size_text(MAX_DIRECTORY_BYTES)}")
    try:
        with zipfile.ZipFile(file) as archive:
            infos = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, struct.error) as error:
        raise MalformedError("its zip directory is cut off or damaged") from error
    if not infos or len(infos) != count:
        raise MalformedError(f"its zip directory has {len(infos):,} members and announces {count:,}")
    return infos, directory


def _find_directory(file: BinaryIO, size: int) -> tuple[int, int, int]:
    """Number of members, start and length of the directory, which ends where the records of the archive's end begin.

    Readers differ in where they look for a directory. This wants the one place on which all of them agree.
    """
    fields = _last(file, size, _END, b"PK\x05\x06")
    _, disk, first_disk, here, count, length, start, comment = fields
    end = size - _END.size
    locator = _last(file, end, _LOCATOR64, b"PK\x06\x07", optional=True)
    if locator:
        end -= _LOCATOR64.size + _END64.size
        if locator[2] != end:
            raise MalformedError("its zip directory is not where the archive's end says")
        wide = _last(file, end + _END64.size, _END64, b"PK\x06\x06")
        for value, narrow, full in zip((here, count, length, start), (16, 16, 32, 32), wide[6:], strict=True):
            if value not in (full, 2**narrow - 1):
                raise MalformedError("its zip directory has two sizes")
        disk, first_disk, here, count, length, start = wide[4:]
    if comment or disk or first_disk or here != count or start + length != end:
        raise MalformedError("its zip directory is not where the archive's end says")
    return count, start, length


def _last(file: BinaryIO, end: int, record: struct.Struct, magic: bytes, *, optional: bool = False) -> tuple[Any, ...]:
    """The record that ends at `end`; empty if it is optional and not there."""
    file.seek(max(end - record.size, 0))
    data = file.read(record.size)
    if len(data) == record.size and data.startswith(magic):
        return record.unpack(data)
    if optional:
        return ()
    raise MalformedError("it is cut off or damaged: the end of the zip archive is missing")


def _check_kind(names: list[str], folder: str) -> None:
    """Raises IntakeError for archives of something else, by their names alone."""
    inside = {name.removeprefix(folder) for name in names}
    if PICKLE not in inside:
        kinds = (kind for suffix, kind in _OTHERS.items() if any(name.endswith(suffix) for name in names))
        what = next(kinds, f"a zip archive without {PICKLE}")
        raise IntakeError(f"is {what}, not a file of torch.save; load it in its own library and save the weights")
    if "constants.pkl" in inside or any(name.startswith("code/") for name in inside):
        raise IntakeError(
            f"is a TorchScript archive, which carries code; if you trust it, torch.jit.load it and {ADVICE}"
        )


def _member(file: BinaryIO, info: zipfile.ZipInfo) -> Member:
    """The place of a member's bytes; raises IntakeError for what torch.save never writes."""
    name = info.orig_filename
    parts = name.split("/")
    if (
        len(name) > MAX_NAME
        or not name.isascii()
        or not name.isprintable()
        or "\\" in name
        or {"", "..", "."} & {*parts}
    ):
        raise MalformedError(f"a member of the archive has a name that is not a plain path: {shown(name)}")
    if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size:
        raise IntakeError(
            f"{shown(name)}: is compressed in the archive, which torch.save never does; unpack and re-save"
        )
    if info.flag_bits & _ENCRYPTED:
        raise IntakeError(f"{shown(name)}: is encrypted")
    file.seek(info.header_offset)
    header = file.read(_LOCAL.size)
    if len(header) < _LOCAL.size or not header.startswith(MAGIC):
        raise MalformedError(f"{shown(name)}: is not where the zip directory says")
    _, _, flags, method, _, _, crc, packed, size, name_length, extra_length = _LOCAL.unpack(header)
    sizes = {(info.CRC, info.file_size, info.file_size), *([(0, 0, 0)] if flags & _SIZES_FOLLOW else [])}
    if file.read(name_length) != name.encode() or method or flags & _ENCRYPTED or (crc, packed, size) not in sizes:
        raise MalformedError(f"{shown(name)}: is described in two ways by the archive")
    return Member(info.header_offset + _LOCAL.size + name_length + extra_length, info.file_size, info.CRC)


def _read(file: BinaryIO, member: Member, limit: int) -> bytes:
    file.seek(member.start)
    return file.read(min(member.size, limit))


def _check_crc(file: BinaryIO, name: str, member: Member) -> None:
    file.seek(member.start)
    crc, left = 0, member.size
    while left > 0:
        chunk = file.read(min(left, MIB))
        if not chunk:
            break
        crc = zlib.crc32(chunk, crc)
        left -= len(chunk)
    if crc != member.crc or left:
        raise MalformedError(f"{shown(name)}: does not match its checksum: the file is damaged")
