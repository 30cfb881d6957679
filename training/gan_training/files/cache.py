"""The folder where things are kept that can be made again: decoded images, downloads, trained classifiers."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """`$GAN_CACHE`, or `~/.cache/ganworks` where that is not set; it may not exist yet.

    Raises:
        OSError: GAN_CACHE is not set, and this user has no home folder.
    """
    try:
        return Path(os.environ.get("GAN_CACHE") or "~/.cache/ganworks").expanduser()
    except RuntimeError as error:
        raise FileNotFoundError(f"no cache folder: {error}; set GAN_CACHE") from error
