"""Paths as users write them, checked with a clear line for each way to be wrong."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from gan_training.errors import first_line

from .image_data import DataError


def directory(argument: str) -> Path:
    """The readable directory that `argument` names (`~` is expanded), or `DataError`."""
    path = _existing(argument)
    if not path.is_dir():
        raise DataError(f"{path} is a file, and a folder is needed here")
    try:
        os.scandir(path).close()
    except OSError as error:
        raise DataError(f"{path}: can't list this folder ({error.strerror}); check its permissions") from error
    return path


def regular_file(argument: str | Path) -> Path:
    """The readable regular file that `argument` names (`~` is expanded), or `DataError`.

    A pipe or a device is refused: opening one could wait for ever.
    """
    path = _existing(argument)
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        raise DataError(f"{path} is a folder, and a file is needed here")
    if not stat.S_ISREG(mode):
        raise DataError(f"{path} is not a regular file (a pipe, socket or device); give a file")
    if not os.access(path, os.R_OK, effective_ids=os.access in os.supports_effective_ids):
        raise DataError(f"{path}: no permission to read this file")
    return path


def _existing(argument: str | Path) -> Path:
    try:
        path = Path(argument).expanduser()
        path.stat()
    except FileNotFoundError as error:
        raise DataError(f"{path} doesn't exist; check the path (it's read from {Path.cwd()})") from error
    except OSError as error:
        raise DataError(f"{path}: can't be read ({error.strerror})") from error
    except (ValueError, RuntimeError) as error:  # a NUL byte in the text; `~name` of no known user
        raise DataError(f"{argument} is not a usable path ({first_line(error)})") from error
    return path
