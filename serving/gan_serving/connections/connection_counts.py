"""How many connections each worker of the service has, in memory that they share."""

from __future__ import annotations

import fcntl
import logging
import mmap
import os
from pathlib import Path
from typing import Final

from gan_serving.process.mapped_file import take_pages
from gan_serving.process.shared_flags import DIRECTORY_VARIABLE

logger = logging.getLogger("bentoml.ganworks")

_NUMBER: Final = 4  # bytes: memoryview's "I"


class ConnectionCounts:
    """A number for each worker, in a file that they have mapped.

    A worker has the first place that no other one holds. Places are held by locks, which go with their processes: who
    comes after a worker that was killed has its place, and its number begins at 0 again.

    Args:
        path: the file; it is made if it is not there.
        workers: places.

    Raises:
        OSError: there is no place, no room on the disk, or the file system has no locks.
    """

    def __init__(self, path: Path, workers: int) -> None:
        size = workers * _NUMBER
        take_pages(path, size)
        self._file = os.open(path, os.O_RDWR | os.O_CLOEXEC)  # closing it would give the place away
        self._place = self._first_free(workers)
        self._counts = memoryview(mmap.mmap(self._file, size)).cast("I")
        self.own = 0

    def _first_free(self, workers: int) -> int:
        for place in range(workers):
            try:
                fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
            except (BlockingIOError, PermissionError):  # another worker's
                continue
            return place
        os.close(self._file)
        raise OSError(f"{workers} workers have a place already")

    @property
    def own(self) -> int:
        """Of this worker."""
        return self._counts[self._place]

    @own.setter
    def own(self, connections: int) -> None:
        self._counts[self._place] = connections

    def others(self) -> list[int]:
        """Of the others; those that did not begin yet have 0."""
        return [count for place, count in enumerate(self._counts) if place != self._place]


def counts_of_environment(workers: int) -> ConnectionCounts | None:
    """Those of this service's workers; None where there is one, or they can't be shared: whoever is first takes all."""
    directory = os.environ.get(DIRECTORY_VARIABLE)
    if directory is None or workers == 1:
        return None
    try:
        return ConnectionCounts(Path(directory) / "connections", workers)
    except OSError as error:
        logger.warning("connections are not shared evenly between the workers: %s", error)
        return None
