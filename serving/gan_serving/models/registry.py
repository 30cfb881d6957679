"""What stands in the artifact folders and what is served of it: the rules by which one follows the other.

Nothing here waits or reads a file. The catalog brings what was found, and the registry says what that means.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from gan_client.types import ReloadReport
from gan_serving.sources import Fingerprint, Source

from .generator import Generator
from .loading import NAME_TAKEN, Examined, Problem
from .surveys import Survey

logger = logging.getLogger("bentoml.ganworks")

VERSION: Final = "1"  # of every generator, in the protocol's sense: there is one at a time

EventFn = Callable[[Literal["ok", "failed", "unloaded"], str], None]
"""Is told what happened to which generator while serving."""


@dataclass(frozen=True)
class ModelState:
    """One generator of the folders, as the Open Inference Protocol's repository index has it."""

    name: str
    version: str
    state: Literal["READY", "UNAVAILABLE"]
    reason: str  # why it is unavailable, or served although its folder holds something else; empty when all is well


@dataclass
class FolderState:
    """A folder as it was found at the last look."""

    source: Source
    fingerprint: Fingerprint
    name: str | None  # of its artifact, if that much could be read
    problem: Problem | None
    told: bool = False  # the problem stands in the log

    @property
    def waits(self) -> bool:
        """Whether it is left out for another artifact of its name."""
        return self.problem is not None and self.problem.code == NAME_TAKEN

    @property
    def gives_way(self) -> bool:
        """Whether it is left out as its source is meant to be."""
        return self.source.gives_way and self.waits


class Registry:
    """Generators by name, and where they came from.

    Rules: what can't be loaded replaces nothing. A generator whose folder is gone is removed, but the last one of all
    stays, and so does everything whose source can't be looked into: a folder that is not mounted is no wish. Of two
    artifacts with one name, the one that came first is served, or that whose source doesn't give way.
    """

    def __init__(self, on_event: EventFn) -> None:
        self.serving: Mapping[str, Generator] = {}  # replaced as a whole, never changed
        self.seen: dict[Path, FolderState] = {}
        self._on_event = on_event
        self._homes: dict[str, Path] = {}  # the folder that each generator came from
        self._kept: dict[str, str] = {}  # those that are served although their folder is gone, and why
        self._complaints: set[str] = set()  # about sources; they stand in the log

    def is_news(self, folder: Path, now: Survey, unloaded: frozenset[str], *, again: bool) -> bool:
        """Whether a folder is to be examined; with `again` also when it was broken and has not changed."""
        seen = self.seen.get(folder)
        if seen is None or seen.fingerprint != now.fingerprints[folder]:
            return True
        if seen.problem is None:  # served, or unloaded and perhaps not to be any more
            return seen.name not in self.serving and seen.name not in unloaded
        return again or self.is_heir(folder, now)

    def is_heir(self, folder: Path, now: Survey) -> bool:
        """Whether a folder was left out because of its name, and may have it now that the other one is gone."""
        seen = self.seen.get(folder)
        if seen is None or seen.name is None or not seen.waits or seen.fingerprint != now.fingerprints[folder]:
            return False
        return self.blocker(seen.name, folder, now) is None

    def note(self, now: Survey, examined: Sequence[Examined]) -> None:
        """Remember what was found. What is served stays as it is, until `take`."""
        for each in examined:
            self.seen[each.folder] = FolderState(
                now.sources[each.folder], now.fingerprints[each.folder], each.name, each.problem
            )

    def is_sudden(self, now: Survey) -> bool:
        """Whether a folder is newly gone: while it is replaced by renaming, there is none for an instant."""
        complaints = {str(error) for _, error in now.lost}
        return not complaints <= self._complaints or not self._homeless(now).keys() <= self._kept.keys()

    def holder(self, name: str, asker: Path, now: Survey) -> Path | None:
        """The folder that serves a name, and keeps it when `asker`, a folder of `now`, has an artifact of that name."""
        home = self._homes.get(name)
        gives_way = now.sources[asker].gives_way
        if home in now.sources:
            if self._holds_another(home, name):
                return None
            return None if now.sources[home].gives_way and not gives_way else home
        seen = None if home is None else self.seen.get(home)
        return home if gives_way and seen is not None and now.is_lost(seen.source) else None

    def blocker(self, name: str, asker: Path, now: Survey, waiting: frozenset[Path] = frozenset()) -> Path | None:
        """The folder for which `asker` is not loaded under a name: its holder, unless that has another artifact now and
        waits for its name itself, as folders do whose artifacts have changed places. `waiting` wait for the asker."""
        holder = self.holder(name, asker, now)
        if holder is None or holder not in now.sources:
            return holder
        seen = self.seen.get(holder)
        if seen is None or seen.name is None or seen.name == name or not seen.waits:
            return holder
        is_freed = holder in waiting or self.blocker(seen.name, holder, now, waiting | {asker}) is None
        return None if is_freed else holder

    def is_own(self, name: str) -> bool:
        """Whether a generator that is served is its user's, and not from a source that gives way."""
        seen = self.seen.get(self._homes[name])
        return seen is None or not seen.source.gives_way

    def take(
        self,
        now: Survey,
        examined: Sequence[Examined],
        unloaded: frozenset[str],
        *,
        asked: bool = False,
        starting: bool = False,
    ) -> ReloadReport:
        """Swap in what was loaded, remove what is gone, and say what is wrong.

        Args:
            now: what the sources hold.
            examined: the folders that were news.
            unloaded: names that are not to be served.
            asked: complain at once of what is broken. Otherwise it is believed when the folder has not changed until
                the next look: somebody may be copying into it.
            starting: nothing was served before.
        """
        report = ReloadReport(loaded=[], unloaded=[], failed={})
        self._complain(now)
        self.note(now, examined)
        for each in examined:
            if each.generator is not None and self._place(each.folder, each.generator, now):
                report.loaded.append(each.generator.manifest.name)
                if not starting:
                    self._on_event("ok", each.generator.manifest.name)
        changed = {each.folder for each in examined}
        for folder, seen in self.seen.items():
            if seen.problem is not None and not seen.gives_way and (asked or folder not in changed):
                if not seen.told:
                    self._tell(folder, seen.problem, starting=starting)
                seen.told = True
                if asked:
                    report.failed[self.label(folder)] = seen.problem.reason
        gone = self._spare(now, self._homeless(now), unloaded)
        gone |= {name: "unloaded by request" for name in self.serving if name in unloaded}
        self.remove(gone)
        report.unloaded.extend(gone)
        self.seen = {
            folder: seen for folder, seen in self.seen.items() if folder in now.sources or now.is_lost(seen.source)
        }
        return report

    def remove(self, names: Mapping[str, str]) -> None:
        """Serve these no longer; for each name, the reason that is logged."""
        self.serving = {name: each for name, each in self.serving.items() if name not in names}
        for name, reason in names.items():
            self._homes.pop(name, None)
            self._kept.pop(name, None)
            logger.info("generator %s unloaded: %s", name, reason)
            self._on_event("unloaded", name)

    def reason_of(self, name: str) -> str | None:
        """Why a generator that is served is not what its folder holds; None if it is."""
        if name in self._kept:
            return self._kept[name]
        seen = self.seen.get(self._homes[name])
        return seen.problem.reason if seen is not None and seen.problem is not None and seen.told else None

    def label(self, folder: Path) -> str:
        """The name under which a folder's problem is shown: of the generator that is served from it, else its own.

        Its own is no generator's that is served from elsewhere, and no other folder's: as many of the folders above it
        are added as that takes.
        """
        served = next((name for name, home in self._homes.items() if home == folder), None)
        if served is not None:
            return served
        parts = folder.parts[1:]
        others = [other.parts[1:] for other in self.seen if other != folder and other not in self._homes.values()]
        for count in range(1, len(parts)):
            label = "/".join(parts[-count:])
            if label not in self.serving and all(other[-count:] != parts[-count:] for other in others):
                return label
        return "/".join(parts)

    def problems(self) -> Iterator[tuple[str, Problem]]:
        """Name and problem of every folder that can't be served, but for those that give way to another."""
        for folder, seen in self.seen.items():
            if seen.problem is not None and not seen.gives_way:
                yield self.label(folder), seen.problem

    def problem_of(self, name: str) -> Problem | None:
        """Why what the folders hold of a generator is not served: of the folder that serves the name now; where none
        does, of one that holds an artifact of that name, or that is called so and nobody knows what it holds, or that
        is shown under it."""
        home = self._homes.get(name)
        if home is not None:
            return self.seen[home].problem if home in self.seen else None
        for folder, seen in self.seen.items():
            if seen.problem is not None and (folder.name if seen.name is None else seen.name) == name:
                return seen.problem
        return dict(self.problems()).get(name)

    def states(self, unloaded: frozenset[str]) -> Sequence[ModelState]:
        """Everything that is served or stands in the folders, by name; `unloaded` are names not to be served."""
        states = {name: ModelState(name, VERSION, "READY", self.reason_of(name) or "") for name in self.serving}
        for name, problem in self.problems():
            states.setdefault(name, ModelState(name, VERSION, "UNAVAILABLE", problem.reason))
        for name in unloaded.intersection(seen.name for seen in self.seen.values() if seen.problem is None):
            states.setdefault(name, ModelState(name, VERSION, "UNAVAILABLE", "unloaded by request"))
        return [states[name] for name in sorted(states)]

    def _place(self, folder: Path, generator: Generator, now: Survey) -> bool:
        """Serve it; whether it is another one than before."""
        name = generator.manifest.name
        if self.holder(name, folder, now) not in (None, folder):  # both are new
            self.seen[folder].problem = Problem.name_taken(folder, name)
            return False
        home = self._homes.get(name)
        if home is not None and home != folder and home in now.sources and not self._holds_another(home, name):
            # It gives way.
            self.seen[home].problem = Problem.name_taken(home, name)
        old = self.serving.get(name)
        self.serving = {**self.serving, name: generator}
        self._homes[name] = folder
        if old is None:
            logger.info("generator %s loaded from %s", name, folder)
        elif old.batcher is not generator.batcher:
            logger.info("generator %s: another version loaded from %s", name, folder)
        return old is None or old.batcher is not generator.batcher

    def _tell(self, folder: Path, problem: Problem, *, starting: bool) -> None:
        name = self.label(folder)
        stays = "; the version that was loaded goes on being served" if name in self.serving else ""
        logger.error("generator not loaded: [%s] %s%s", problem.code, problem.message, stays, exc_info=problem.cause)
        if not starting:
            self._on_event("failed", name)

    def _complain(self, now: Survey) -> None:
        for source, error in now.lost:
            if str(error) not in self._complaints:
                stays = "; what was loaded from there goes on being served" if self._serves_from(source) else ""
                logger.error("%s%s", error, stays)
        self._complaints = {str(error) for _, error in now.lost}

    def _serves_from(self, source: Source) -> bool:
        homes = (self.seen.get(home) for home in self._homes.values())
        return any(seen is not None and seen.source is source for seen in homes)

    def _homeless(self, now: Survey) -> dict[str, str]:
        """Generators whose folder is gone or serves another one now, and the reason."""
        found = {}
        for name, home in self._homes.items():
            seen = self.seen.get(home)
            if home not in now.sources:
                if seen is None or not now.is_lost(seen.source):
                    found[name] = f"{home} is gone"
            elif seen is not None and self._holds_another(home, name):
                found[name] = f"{home} holds {seen.name} now"
        return found

    def _holds_another(self, home: Path, name: str) -> bool:
        """Whether the folder of a generator has a good artifact of another name now."""
        seen = self.seen.get(home)
        return seen is not None and seen.problem is None and seen.name != name

    def _spare(self, now: Survey, homeless: dict[str, str], unloaded: frozenset[str]) -> dict[str, str]:
        """The homeless without the last generator of all; marks what is served from memory."""
        kept = {
            name: "its folder can't be read now; served from memory"
            for name, home in self._homes.items()
            if home not in now.sources and name not in homeless
        }
        wanted = [name for name in self.serving if name not in unloaded]
        if wanted and all(name in homeless for name in wanted):
            last = max(wanted, key=lambda name: (name in self._kept, self.serving[name].exported_at, name))
            reason = homeless.pop(last)
            if last not in self._kept:
                logger.warning("generator %s: %s, but it is the last one and goes on being served", last, reason)
            kept[last] = "its folder is gone; served from memory"
        self._kept = kept
        return homeless
