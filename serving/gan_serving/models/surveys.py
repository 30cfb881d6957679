"""What the sources of artifacts hold at one moment."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from gan_serving.process.threaded_tasks import STALL_SECONDS, ThreadedTask, ThreadedTasks
from gan_serving.sources import Fingerprint, Source, SourceError, fingerprint


@dataclass(frozen=True)
class Survey:
    """What the sources hold at one moment, in their order."""

    sources: dict[Path, Source]  # of each artifact folder
    fingerprints: dict[Path, Fingerprint]  # the same folders
    lost: list[tuple[Source, SourceError]]  # sources that can't be looked into: nothing is known of their folders

    def is_lost(self, source: Source) -> bool:
        return any(source is each for each, _ in self.lost)


def survey(sources: Iterable[Source]) -> Survey:
    """Look at all sources, without reading a file."""
    return _merged(map(_survey_of, sources))


def _survey_of(source: Source) -> Survey:
    """Look at one source."""
    try:
        prints = {folder: fingerprint(folder) for folder in source.artifacts()}
    except SourceError as error:
        return _lost(source, error)
    there = {folder: seen for folder, seen in prints.items() if seen}
    return Survey(dict.fromkeys(there, source), there, [])


def _lost(source: Source, error: SourceError) -> Survey:
    return Survey({}, {}, [(source, error)])


def _merged(surveys: Iterable[Survey]) -> Survey:
    """Surveys of several sources as one; a folder is the first one's that has it."""
    whole = Survey({}, {}, [])
    for each in surveys:
        for folder, source in each.sources.items():
            if folder not in whole.sources:
                whole.sources[folder], whole.fingerprints[folder] = source, each.fingerprints[folder]
        whole.lost.extend(each.lost)
    return whole


class Surveys:
    """Looks at the same sources again and again. A source whose file system hangs counts as lost meanwhile.

    Args:
        sources: in their order.
    """

    def __init__(self, sources: Sequence[Source]) -> None:
        self._sources = sources
        self._tasks: ThreadedTasks[int, Survey] = ThreadedTasks(lambda _: None)  # by the source's place

    @property
    def stalled(self) -> bool:
        """Whether a source hangs that may come later."""
        return self._tasks.stalled

    @property
    def news(self) -> bool:
        """Whether one that hung has come by now."""
        return self._tasks.news

    def at_start(self, is_stopping: Callable[[], bool]) -> Survey:
        """The first look, at all of them side by side, before the event loop runs.

        Args:
            is_stopping: asked all the time; once it is true, nothing is waited for.
        """
        tasks = {i: _task(source) for i, source in enumerate(self._sources)}
        found = self._tasks.run(tasks, at_once=len(tasks), is_stopping=is_stopping)
        return _merged(found.get(i) or _late(source) for i, source in enumerate(self._sources))

    async def now(self) -> Survey:
        """Another look, at one after the other."""
        found = [await self._tasks.run_one(i, _task(source)) for i, source in enumerate(self._sources)]
        return _merged(each or _late(source) for each, source in zip(found, self._sources, strict=True))


def _task(source: Source) -> ThreadedTask[Survey]:
    # Always another subject: what comes late says nothing of now.
    return ThreadedTask(object(), partial(_survey_of, source))


def _late(source: Source) -> Survey:
    return _lost(source, SourceError(f"{source.described()}: is not read after {STALL_SECONDS:g} s"))
