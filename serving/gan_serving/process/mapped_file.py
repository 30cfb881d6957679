"""A file that processes map into their memory: its pages have their place on the disk before."""

from __future__ import annotations

import os
from pathlib import Path


def take_pages(path: Path, size: int) -> None:
    """Make a file of at least so many bytes that have their place on the disk; raises OSError if there is no room."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file, 0, size)
        elif os.fstat(file).st_size < size:
            os.ftruncate(file, size)
    finally:
        os.close(file)
