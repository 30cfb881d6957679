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
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from gan_serving.process.mapped_file import take_pages

logger = logging.getLogger("bentoml.ganworks")

FOLDER: Final = "PROMETHEUS_MULTIPROC_DIR"
SIZES: Final = {"histogram": 2**20, "counter": 2**17, "gauge_livesum": 2**15, "gauge_livemax": 2**15}
"""Bytes of each file that are taken: room for a hundred generators."""
_LIVE: Final = "gauge_live"  # kinds whose values end with their process
_FOLDED: Final = "0"  # in the place of a process's number: of all that have ended
_MAKING: Final = ".making"  # of a file that is not whole yet
_MADE: Final = ".made"  # complete sums of all that is folded, which is about to be removed
_SUMMED: Final = ("counter", "histogram")
_LOCK: Final = "ganworks.lock"
_USED: Final = struct.Struct("i")  # at the start of a file: how many of its bytes mean something
_LEAST: Final = 8  # bytes of a file that was begun


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
            _take(path, size)
    except OSError as error:
        for path in paths:
            path.unlink(missing_ok=True)
            path.with_suffix(_MAKING).unlink(missing_ok=True)
        del os.environ[FOLDER]  # the client looks whether it is there
        logger.warning(
            "%s: no room for files of metrics (%s); this worker's metrics are kept in memory, and /metrics does not "
            "add up the workers", folder, error.strerror,
        )  # fmt: skip
        return False
    return True


def _take(path: Path, size: int) -> None:
    """Take a file's pages. It gets its name last: others may be reading the folder, and can't read an empty file."""
    if path.exists() and not path.name.startswith(_LIVE):
        take_pages(path, size)  # a process that had this number before has counted in it
        return
    making = path.with_suffix(_MAKING)
    take_pages(making, size)
    making.replace(path)


@contextmanager
def settled() -> Iterator[None]:
    """While this is held, the files of all workers are as they are to be added up.

    What killed workers had in their queues is taken out of the sums, where it would stay for ever, and what they had
    counted is folded into one file: theirs would stay too, and each be read every time.
    """
    folder = os.environ.get(FOLDER)
    if folder is None:
        yield
        return
    _forget_queues(Path(folder))
    lock = _open_lock(Path(folder))
    try:
        if lock is not None:
            _settle(Path(folder), lock)
        yield
    finally:
        if lock is not None:
            os.close(lock)


def _open_lock(folder: Path) -> int | None:
    try:
        return os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:  # nobody has values there, or no room
        return None


def _forget_queues(folder: Path) -> None:
    """Remove what the dead had waiting, and their files that were never begun; that needs no room, and no lock."""
    with suppress(OSError):
        for path in _of_dead(folder):
            if path.name.startswith(_LIVE) or path.stat().st_size < _LEAST:
                path.unlink(missing_ok=True)  # another worker may be doing the same


def _settle(folder: Path, lock: int) -> None:
    """Fold what the dead have counted, and hold the lock with the others who read."""
    with suppress(OSError):
        if _of_dead(folder) or [*folder.glob(f"*_{_FOLDED}_*.db"), *folder.glob(f"*{_MADE}")]:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # or there is another time
            for kind in _SUMMED:
                _fold(folder, kind)
    with suppress(OSError):  # a file system without locks
        fcntl.flock(lock, fcntl.LOCK_SH)


def _fold(folder: Path, kind: str) -> None:
    """Add the values of the dead up in one file; raises OSError when there is no room, and loses nothing.

    Nor does it when it is killed, between any two steps: the files of the dead get names of their own, under which they
    still count, and are removed once the sums are complete under theirs.
    """
    into = folder / f"{kind}_{_FOLDED}.db"
    made = into.with_suffix(_MADE)
    if not made.exists():
        for path in folder.glob(f"{kind}_*.db"):
            number = path.stem.removeprefix(f"{kind}_")
            marked = folder / f"{kind}_{_FOLDED}_{number}.db"
            if _is_dead(number) and not marked.exists():
                path.rename(marked)
        dead = [*folder.glob(f"{kind}_{_FOLDED}_*.db")]
        if not dead:
            return
        making = into.with_suffix(_MAKING)
        _add_up([path for path in (into, *dead) if path.exists()], making)
        making.replace(made)
    for path in folder.glob(f"{kind}_{_FOLDED}_*.db"):
        path.unlink(missing_ok=True)
    made.replace(into)


def _add_up(files: Sequence[Path], making: Path) -> None:
    """Write the sums of the values of several files into another."""
    from prometheus_client import mmap_dict  # here: the package looks at its import where values are kept

    values: Any = mmap_dict.MmapedDict
    sums: dict[str, float] = defaultdict(float)
    for path in files:
        for key, value, *_ in values.read_all_values_from_file(path):
            sums[key] += value
    making.unlink(missing_ok=True)  # of one that was killed
    take_pages(making, sum(map(_used, files)))
    made = values(making)
    for key, value in sums.items():
        made.write_value(key, value, 0.0)
    made.close()
    os.truncate(making, _used(making))


def _used(path: Path) -> int:
    with path.open("rb") as file:
        used: int = _USED.unpack(file.read(_USED.size))[0]
    return max(used, _LEAST)


def _of_dead(folder: Path) -> list[Path]:
    return [path for path in folder.glob("*_*.db") if _is_dead(path.stem.rpartition("_")[2])]


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
