"""`webdataset`: DIR/shard-000000.tar and so on, with 000000123.png, .cls and .json for each image.

The same images give the same bytes: headers carry no time and no owner.
"""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from .plan import DEFAULT_SHARD_SIZE, Entry, Plan

_BLOCK: Final = tarfile.BLOCKSIZE
_END: Final = bytes(2 * _BLOCK)
_MODE: Final = 0o644


class ShardWriter:
    """A shard is written under `.part` and renamed when it is complete."""

    places: Final = ("shard", "key")

    def __init__(self, root: Path, plan: Plan) -> None:
        self._root, self._plan = root, plan
        self._size = plan.shard_size or DEFAULT_SHARD_SIZE

    def place(self, entry: Entry) -> tuple[str, ...]:
        """The image's shard, and its key in there."""
        return (self._name(entry.index // self._size), entry.key)

    def begin(self) -> int:
        """Make ready for writing; the number of images that are there already.

        A shard that was under way is kept up to its last complete image.
        """
        self._root.mkdir(parents=True, exist_ok=True)
        shards = -(-self._plan.n // self._size)
        shard = next((k for k in range(shards) if not (self._root / self._name(k)).is_file()), shards)
        start = shard * self._size
        part = self._part(shard)
        if shard == shards or not part.is_file():
            return min(start, self._plan.n)
        with part.open("r+b") as stream:
            whole, end = self._complete(stream.fileno(), shard)
            stream.truncate(end)
        if start + whole == min(start + self._size, self._plan.n):
            self._close(shard)
        return start + whole

    def append(self, entries: Sequence[Entry], pngs: Sequence[bytes]) -> None:
        """Write the next images."""
        start = 0
        while start < len(entries):
            shard = entries[start].index // self._size
            stop = start + min(len(entries) - start, (shard + 1) * self._size - entries[start].index)
            with self._part(shard).open("ab") as stream:
                for entry, png in zip(entries[start:stop], pngs[start:stop], strict=True):
                    stream.write(b"".join(_member(name, content) for name, content in _members(entry, png)))
            last = entries[stop - 1].index + 1
            if last % self._size == 0 or last == self._plan.n:
                self._close(shard)
            start = stop

    def finish(self) -> None:
        """All images are there."""

    def remove(self) -> None:
        """Delete the shards of the plan, and nothing else."""
        for shard in range(-(-self._plan.n // self._size)):
            (self._root / self._name(shard)).unlink(missing_ok=True)
            self._part(shard).unlink(missing_ok=True)

    def _close(self, shard: int) -> None:
        part = self._part(shard)
        with part.open("ab") as stream:
            stream.write(_END + bytes(-(stream.tell() + len(_END)) % tarfile.RECORDSIZE))
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(self._root / self._name(shard))

    def _name(self, shard: int) -> str:
        return f"shard-{shard:06d}.tar"

    def _part(self, shard: int) -> Path:
        return self._root / f"{self._name(shard)}.part"

    def _complete(self, file: int, shard: int) -> tuple[int, int]:
        """How many images of a shard under way are complete, and where the last of them ends."""
        size, position, end, whole = os.fstat(file).st_size, 0, 0, 0
        first = shard * self._size
        for entry in self._plan.entries(first, min(first + self._size, self._plan.n)):
            for name, _ in _members(entry, b""):
                header = os.pread(file, _BLOCK, position)
                try:
                    info = tarfile.TarInfo.frombuf(header, "ascii", "strict")
                except tarfile.HeaderError:
                    return whole, end
                position += _BLOCK + info.size + -info.size % _BLOCK
                if info.name != name or position > size:
                    return whole, end
            whole, end = whole + 1, position
        return whole, end


def _members(entry: Entry, png: bytes) -> list[tuple[str, bytes]]:
    about = {"seed": entry.seed, "label": entry.label, "label_name": entry.label_name}
    members = [(f"{entry.key}.png", png)]
    if entry.label is not None:
        members.append((f"{entry.key}.cls", str(entry.label).encode()))
    return [*members, (f"{entry.key}.json", json.dumps(about, ensure_ascii=False).encode())]


def _member(name: str, content: bytes) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(content), _MODE
    return info.tobuf(tarfile.USTAR_FORMAT) + content + bytes(-len(content) % _BLOCK)
