"""What a request told one worker and all workers must know: which generators are unloaded, and to look again."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

DIRECTORY_VARIABLE: Final = "GANWORKS_NOTICES"
"""Where `bentoml serve` tells its workers the folder that they share; unset with one worker."""

_UNLOADED: Final = "unloaded."
_ASKED: Final = "asked"


class SharedFlags:
    """Empty files in a folder that the workers share: one for each unloaded generator, and one that is touched to ask
    for a look. Without a folder, the same in memory. When the folder is gone, so is the service that made it."""

    def __init__(self, directory: Path | None = None) -> None:
        self._directory = directory
        self._memory: set[str] = set()

    @property
    def shared(self) -> bool:
        """Whether others may have put something there."""
        return self._directory is not None

    def unloaded(self) -> frozenset[str]:
        """Names of the generators that are not to be served."""
        if self._directory is None:
            return frozenset(self._memory)
        with suppress(FileNotFoundError):
            names = [path.name for path in self._directory.iterdir()]
            return frozenset(name.removeprefix(_UNLOADED) for name in names if name.startswith(_UNLOADED))
        return frozenset()

    def unload(self, name: str) -> None:
        """Have no worker serve it; `name` is a manifest's, never a request's own words."""
        if self._directory is None:
            self._memory.add(name)
        else:
            _touch(self._directory / (_UNLOADED + name))

    def load(self, name: str) -> None:
        """Let the workers serve it again; a name from `unloaded`."""
        if self._directory is None:
            self._memory.discard(name)
        else:
            (self._directory / (_UNLOADED + name)).unlink(missing_ok=True)

    def ask(self) -> None:
        """Have the other workers look for changes."""
        if self._directory is not None:
            _touch(self._directory / _ASKED)

    def state(self) -> tuple[int, frozenset[str]]:
        """Changes whenever somebody asked, loaded or unloaded."""
        asked = 0
        if self._directory is not None:
            with suppress(FileNotFoundError):
                asked = (self._directory / _ASKED).stat().st_mtime_ns
        return asked, self.unloaded()


def flags_of_environment() -> SharedFlags:
    """Those that this process shares with the other workers of its service, if there are any."""
    directory = os.environ.get(DIRECTORY_VARIABLE)
    return SharedFlags(Path(directory) if directory else None)


def _touch(path: Path) -> None:
    with suppress(FileNotFoundError):
        path.touch()
