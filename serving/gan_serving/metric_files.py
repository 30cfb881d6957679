"""The mapped files in which Prometheus' client keeps a worker's metrics, for all workers to add up.

The client makes them with holes. A page that finds no room on the disk when it is first written to kills the process
(SIGBUS), so that a full disk would end a service that needs no disk. Here the pages are taken before.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Final

from .mapped_file import take_pages

logger = logging.getLogger("bentoml.ganworks")

FOLDER: Final = "PROMETHEUS_MULTIPROC_DIR"
SIZES: Final = {"histogram": 2**20, "counter": 2**17, "gauge_livesum": 2**15, "gauge_livemax": 2**15}
"""Bytes of each file that are taken: room for a hundred generators."""


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


def forget_the_dead() -> None:
    """Take what killed workers had in their queues out of the sums; nobody else does, and it would stay for ever."""
    folder = os.environ.get(FOLDER)
    for path in Path(folder).glob("gauge_live*_*.db") if folder else ():
        pid = path.stem.rpartition("_")[2]
        if pid.isdigit() and not _is_alive(int(pid)):
            path.unlink(missing_ok=True)  # another worker may be doing the same


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True  # somebody else's
    return True
