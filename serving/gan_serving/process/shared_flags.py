"""What a request told one worker and all workers must know: which generators are unloaded, and to look again."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

DIRECTORY_VARIABLE: Final = "GANWORKS_NOTICES"
"""Where `bentoml serve` tells its workers the folder that they share; unset with one worker."""

KEEP_SECONDS: Final = 60.0
"""How often the files are made new: who cleans up folders of temporary files takes old ones."""
_UNLOADED: Final = "unloaded."
_LOADED: Final = "loaded."  # it was unloaded before; counts for more than a file that says so
_ASKED: Final = "asked"


class SharedFlags:
    """Empty files in a folder that the workers share: one for each generator that was unloaded or loaded again, and one
    that is touched to ask for a look. Without a folder, the same in memory.

    What a worker has read it remembers: a file that somebody removes says nothing, and is made again.
    """

    def __init__(self, directory: Path | None = None) -> None:
        self._directory = directory
        self._memory: set[str] = set()
        self._next_keeping = -float("inf")

    @property
    def shared(self) -> bool:
        """Whether others may have put something there."""
        return self._directory is not None

    def unloaded(self) -> frozenset[str]:
        """Names of the generators that are not to be served."""
        if self._directory is not None:
            with suppress(FileNotFoundError):
                files = [path.name for path in self._directory.iterdir()]
                self._memory |= {file.removeprefix(_UNLOADED) for file in files if file.startswith(_UNLOADED)}
                self._memory -= {file.removeprefix(_LOADED) for file in files if file.startswith(_LOADED)}
        return frozenset(self._memory)

    def unload(self, name: str) -> None:
        """Have no worker serve it; `name` is a manifest's, never a request's own words.

        Raises:
            OSError: the others can't be told.
        """
        if self._directory is not None:
            (self._directory / (_LOADED + name)).unlink(missing_ok=True)
            self._touch(_UNLOADED + name)
        self._memory.add(name)

    def load(self, name: str) -> None:
        """Let the workers serve it again; a name from `unloaded`.

        Raises:
            OSError: the others can't be told.
        """
        if self._directory is not None:
            self._touch(_LOADED + name)
            (self._directory / (_UNLOADED + name)).unlink(missing_ok=True)
        self._memory.discard(name)

    def ask(self) -> None:
        """Have the other workers look for changes.

        Raises:
            OSError: they can't be told.
        """
        self._touch(_ASKED)

    def keep(self) -> None:
        """Make the files new again, and those that somebody removed, every KEEP_SECONDS."""
        now = time.monotonic()
        if self._directory is None or now < self._next_keeping:
            return
        self._next_keeping = now + KEEP_SECONDS
        with suppress(OSError):
            for name in self.unloaded():
                self._touch(_UNLOADED + name)
            for path in (self._directory, *self._directory.iterdir()):
                if path.name != _ASKED:  # whose time tells something
                    os.utime(path)

    def state(self) -> tuple[int, frozenset[str]]:
        """Changes whenever somebody asked, loaded or unloaded."""
        asked = 0
        if self._directory is not None:
            with suppress(FileNotFoundError):
                asked = (self._directory / _ASKED).stat().st_mtime_ns
        return asked, self.unloaded()

    def _touch(self, file: str) -> None:
        if self._directory is not None:
            self._directory.mkdir(mode=0o700, exist_ok=True)
            (self._directory / file).touch()


def flags_of_environment() -> SharedFlags:
    """Those that this process shares with the other workers of its service, if there are any."""
    directory = os.environ.get(DIRECTORY_VARIABLE)
    return SharedFlags(Path(directory) if directory else None)
