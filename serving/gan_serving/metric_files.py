"""The mapped files in which Prometheus' client keeps a worker's metrics, for all workers to add up.

The client makes them with holes. A page that finds no room on the disk when it is first written to kills the process
(SIGBUS), so that a full disk would end a service that needs no disk. Here the pages are taken before.
"""

from __future__ import annotations

import fcntl
import logging
import os
import struct
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from .mapped_file import take_pages

logger = logging.getLogger("bentoml.ganworks")

FOLDER: Final = "PROMETHEUS_MULTIPROC_DIR"
SIZES: Final = {"histogram": 2**20, "counter": 2**17, "gauge_livesum": 2**15, "gauge_livemax": 2**15}
"""Bytes of each file that are taken: room for a hundred generators."""
_LIVE: Final = "gauge_live"  # kinds whose values end with their process
_FOLDED: Final = "0"  # in the place of a process's number: of all that have ended
_LOCK: Final = "ganworks.lock"
_USED: Final = struct.Struct("i")  # at the start of a file: how many of its bytes mean something


def reserve() -> bool:
    """Take the pages of this process's files, before the client opens them.

    Returns:
        False when there is no room, or no folder for them: the client must keep its values in memory.
    """
    folder = os.environ.get(FOLDER)
    if folder is None:
        return False
    paths = {Path(folder) / f"{kind}_{os.getpid()}.db": size for kind, size in SIZES.items()}
    try:
        for path, size in paths.items():
            if path.name.startswith(_LIVE):
                path.unlink(missing_ok=True)  # of one that had this number before, and was killed
            take_pages(path, size)
    except OSError as error:
        for path in paths:
            path.unlink(missing_ok=True)
        del os.environ[FOLDER]  # the client looks whether it is there
        logger.warning(
            "%s: no room for files of metrics (%s); this worker's metrics are kept in memory, and /metrics does not "
            "add up the workers", folder, error.strerror,
        )  # fmt: skip
        return False
    return True


@contextmanager
def settled() -> Iterator[None]:
    """While this is held, the files of all workers are as they are to be added up.

    What killed workers had in their queues is taken out of the sums, where it would stay for ever, and what they had
    counted is folded into one file: theirs would stay too, and each be read every time.
    """
    folder = os.environ.get(FOLDER)
    lock = None if folder is None else _open_lock(Path(folder))
    if folder is None or lock is None:
        yield
        return
    try:
        _settle(Path(folder), lock)
        yield
    finally:
        os.close(lock)


def _open_lock(folder: Path) -> int | None:
    try:
        return os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:  # nobody has values there, or no room
        return None


def _settle(folder: Path, lock: int) -> None:
    """Deal with the files of the dead, and hold the lock with the others who read."""
    with suppress(OSError):
        dead = [path for path in folder.glob("*_*.db") if _is_dead(path.stem.rpartition("_")[2])]
        if dead:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # or there is another time
            for kind in ("counter", "histogram"):
                _fold(folder / f"{kind}_{_FOLDED}.db", [path for path in dead if path.name.startswith(kind)])
            _remove(path for path in dead if path.name.startswith(_LIVE))
    with suppress(OSError):  # a file system without locks
        fcntl.flock(lock, fcntl.LOCK_SH)


def _fold(into: Path, dead: Sequence[Path]) -> None:
    """Add the values of several files up in one; raises OSError when there is no room, and changes nothing."""
    if not dead:
        return
    from prometheus_client import mmap_dict  # here: the package looks at its import where values are kept

    values: Any = mmap_dict.MmapedDict
    files = [path for path in (into, *dead) if path.exists()]
    sums: dict[str, float] = defaultdict(float)
    for path in files:
        for key, value, *_ in values.read_all_values_from_file(path):
            sums[key] += value
    making = into.with_suffix(".making")
    making.unlink(missing_ok=True)  # of one that was killed
    take_pages(making, sum(map(_used, files)))
    made = values(making)
    for key, value in sums.items():
        made.write_value(key, value, 0.0)
    made.close()
    os.truncate(making, _used(making))
    making.replace(into)
    _remove(dead)


def _used(path: Path) -> int:
    with path.open("rb") as file:
        used: int = _USED.unpack(file.read(_USED.size))[0]
    return max(used, 8)


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)  # another worker may be doing the same


def _is_dead(pid: str) -> bool:
    return pid.isdigit() and pid != _FOLDED and not _is_alive(int(pid))


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True  # somebody else's
    return True
