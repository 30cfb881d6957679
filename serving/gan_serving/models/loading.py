"""From an artifact folder to a generator, or to the reason why not. Runs in a thread, beside serving."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from gan_export.artifact import Artifact, ArtifactError, load_artifact
from gan_export.artifact.reading import read_certificate
from gan_serving.settings import Settings

from .generator import Generator, RecorderFn, make_generator, with_pages_of
from .pages import PAGES, is_endless
from .variants import choices_to_try

NAME_TAKEN: Final = "name_taken"
UNLOADABLE: Final = "unloadable"


@dataclass(frozen=True)
class Problem:
    """Why an artifact is not served."""

    code: str  # of ArtifactError: a gate's, or what is wrong with the files
    message: str  # one line for the log
    reason: str  # the same for clients, without the folder's place on this host
    cause: Exception | None = None  # whose traceback belongs into the log

    @classmethod
    def of(cls, folder: Path, error: ArtifactError) -> Problem:
        message = str(error)
        return cls(error.code, message, f"[{error.code}] {message.replace(str(folder), folder.name)}")

    @classmethod
    def unforeseen(cls, folder: Path, error: Exception) -> Problem:
        """What reading or running an artifact was not expected to raise."""
        words = ": ".join([type(error).__name__, *str(error).strip().splitlines()[:1]])
        found = cls.of(folder, ArtifactError(f"{folder}: can't be read or run: {words}; export again", code=UNLOADABLE))
        return replace(found, cause=error)

    @classmethod
    def name_taken(cls, folder: Path, name: str) -> Problem:
        """Two artifacts of one name: the one that came first is served."""
        message = f"{folder}: another artifact is named {name!r} too; this one is left out"
        return cls.of(folder, ArtifactError(message, code=NAME_TAKEN))


@dataclass(frozen=True)
class Examined:
    """What was found in a folder: a generator, a problem, or neither if it is not to be loaded."""

    folder: Path
    name: str | None  # of the artifact, if that much could be read
    generator: Generator | None = None
    problem: Problem | None = None


def read_artifact(folder: Path) -> Artifact:
    """Read and check an artifact, if all that it is read from are files.

    Raises:
        ArtifactError: they are not, or as `load_artifact`.
    """
    with suppress(OSError), os.scandir(folder) as entries:  # reading it will say what is wrong
        for entry in entries:
            if entry.name not in PAGES and is_endless(Path(entry.path)):
                raise ArtifactError(
                    f"{entry.path}: is a pipe, a socket or a device, not a file; remove it, or export again",
                    code="manifest",
                )
    return load_artifact(folder)


def examine(
    folder: Path,
    settings: Settings,
    *,
    serving: Mapping[str, Generator],
    blocker: Callable[[str], Path | None],
    unloaded: frozenset[str],
    recorder: RecorderFn | None,
) -> Examined:
    """Load the artifact of a folder.

    Args:
        folder: of the artifact.
        settings: of the service.
        serving: what is served now; a generator of the same graph keeps its session and its queue.
        blocker: the folder that serves a name now and keeps it, if there is one.
        unloaded: names that are not to be loaded.
        recorder: for the generator's batcher.
    """
    name = None
    try:
        artifact = read_artifact(folder)
        name = artifact.name
        if name in unloaded:
            return Examined(folder, name)
        if blocker(name) not in (None, folder):
            return Examined(folder, name, problem=Problem.name_taken(folder, name))
        running = serving.get(name)
        is_same = running is not None and running.manifest == artifact.manifest
        if running is not None and is_same and not _is_drawn_otherwise(running, artifact, settings):
            return Examined(folder, name, with_pages_of(running, artifact))
        return Examined(folder, name, make_generator(artifact, settings, recorder))
    except ArtifactError as error:
        return Examined(folder, name, problem=Problem.of(folder, error))
    except Exception as error:  # noqa: BLE001 - whatever it is, the others are served
        return Examined(folder, name, problem=Problem.unforeseen(folder, error))


def _is_drawn_otherwise(running: Generator, artifact: Artifact, settings: Settings) -> bool:
    """Whether another way to draw comes first by the artifact's certificate as it is now."""
    certificate = read_certificate(artifact)
    if certificate == running.certificate:
        return False
    return (
        choices_to_try(artifact, certificate, settings)[0] != choices_to_try(artifact, running.certificate, settings)[0]
    )
