"""ZIP archives of stored files, written front to back (APPNOTE.TXT 6.3.10, sections 4.3 and 4.5.3).

Python's own zipfile writes a file's header again once its data are known, or puts flags into the archive when it
can't; here sizes and checksums are known first, and the same files give the same bytes however they are handed on.
"""

from __future__ import annotations

import struct
import zlib
from typing import Final

_VERSION: Final = 20  # 2.0, what stored files need
_VERSION_64: Final = 45  # 4.5, where 64-bit fields are used
_UNIX: Final = 3 << 8  # the system whose file permissions are given
_MODE: Final = 0o100644 << 16  # a regular file, rw-r--r--
_UTF8: Final = 1 << 11
_DATE: Final = 1 << 5 | 1  # 1980-01-01: an archive must not depend on when it was made
_FULL_16, _FULL_32 = 0xFFFF, 0xFFFFFFFF  # "look into the 64-bit field"

_LOCAL: Final = struct.Struct("<4s5H3L2H")
_CENTRAL: Final = struct.Struct("<4s6H3L5H2L")
_END: Final = struct.Struct("<4s4H2LH")
_END_64: Final = struct.Struct("<4sQ2H2L4Q")
_LOCATOR: Final = struct.Struct("<4sLQL")


class StoredZip:
    """Makes an archive piece by piece; only its directory, some 60 bytes a file, is kept."""

    def __init__(self) -> None:
        self._offset = 0  # bytes made so far
        self._directory: list[bytes] = []

    def file(self, name: str, content: bytes) -> bytes:
        """The bytes of one more file, of less than 4 GiB."""
        encoded, checksum, size = name.encode(), zlib.crc32(content), len(content)
        common = (_VERSION, _UTF8, 0, 0, _DATE, checksum, size, size, len(encoded))
        local = _LOCAL.pack(b"PK\x03\x04", *common, 0) + encoded
        extra, version, offset = b"", _VERSION, self._offset
        if offset >= _FULL_32:
            extra, version, offset = struct.pack("<2HQ", 1, 8, offset), _VERSION_64, _FULL_32
        entry = (_UNIX | version, version, *common[1:], len(extra), 0, 0, 0, _MODE, offset)
        self._directory.append(_CENTRAL.pack(b"PK\x01\x02", *entry) + encoded + extra)
        self._offset += len(local) + size
        return local + content

    def end(self) -> bytes:
        """The directory, which ends the archive."""
        directory, count, start = b"".join(self._directory), len(self._directory), self._offset
        size = len(directory)
        tail = b""
        if count >= _FULL_16 or size >= _FULL_32 or start >= _FULL_32:
            rest = _END_64.size - 12  # of the record, after this field
            versions = (_UNIX | _VERSION_64, _VERSION_64)
            tail = _END_64.pack(b"PK\x06\x06", rest, *versions, 0, 0, count, count, size, start)
            tail += _LOCATOR.pack(b"PK\x06\x07", 0, start + size, 1)
            count, size, start = min(count, _FULL_16), min(size, _FULL_32), min(start, _FULL_32)
        return directory + tail + _END.pack(b"PK\x05\x06", 0, 0, count, count, size, start, 0)
