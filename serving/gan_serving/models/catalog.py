"""Which generators are served, and how that follows the artifact folders without a failed call.

A look compares the folders with what was seen last (by stat, no file is read), loads what is new or changed in a
thread while the old versions go on serving, and then swaps all of it at once. Requests that have an old version keep
it until they are done.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from gan_client.types import ModelInfo, ReloadReport
from gan_export.artifact import draw
from gan_serving.errors import NotLoadableError, NotReadyError, QueueFullError, UnknownModelError
from gan_serving.messages import nearest
from gan_serving.process.shared_flags import SharedFlags, flags_of_environment
from gan_serving.process.threaded_tasks import STALL_SECONDS, ThreadedTask, ThreadedTasks
from gan_serving.settings import Settings

from .generator import Generator, RecorderFn
from .loading import Examined, examine
from .registry import EventFn, ModelState, Registry
from .surveys import Survey, Surveys
from .watching import Looks, Watcher

logger = logging.getLogger("bentoml.ganworks")

GONE_SECONDS: Final = 0.5  # after which a folder that is gone is believed to be
ZOO_DEFAULT: Final = "mnist-cgan"  # where there is only the zoo


class Catalog:
    """The generators of this worker, by name. Made in the main thread before the event loop runs; all methods are for
    the loop's thread, but for `_examine`, which threads run to load: it only reads `serving`, which is replaced as a
    whole, and asks the registry who holds a name."""

    def __init__(
        self,
        settings: Settings,
        *,
        recorder: RecorderFn | None = None,
        on_event: EventFn = lambda _kind, _model: None,
        flags: SharedFlags | None = None,
        is_stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        """Load everything that GAN_MODELS names; what can't be loaded is logged and left out.

        Args:
            settings: of the service.
            recorder: what a generator's batcher tells its numbers, by the generator's name.
            on_event: is told of what is loaded, refused and unloaded later on.
            flags: what the workers tell each other; default: as `bentoml serve` arranged it.
            is_stopping: whether the process was told to stop, so that loading has no use any more.
        """
        self._settings = settings
        self._recorder = recorder
        self._flags = flags or flags_of_environment()
        self._registry = Registry(on_event)
        self._surveys = Surveys(settings.model_sources)
        self._loads: ThreadedTasks[Path, Examined] = ThreadedTasks(_tell_stalled)
        self._looks = Looks(self._compare)
        # Before loading: what others say meanwhile is not missed.
        self._watcher = Watcher(
            lambda: self._look(asked=False),
            self._flags,
            lambda: self._loads.news or self._surveys.news,
            settings.reload_seconds,
        )
        self._load_at_start(is_stopping)

    def __len__(self) -> int:
        return len(self._registry.serving)

    def list(self) -> list[ModelInfo]:
        """All generators that are served, by name."""
        default = self.default_name
        return [
            generator.info(default=name == default, reason=self._registry.reason_of(name))
            for name, generator in sorted(self._registry.serving.items())
        ]

    @property
    def default_name(self) -> str | None:
        """The generator of requests that name none: GAN_DEFAULT_MODEL, else the newest artifact of the user's own."""
        serving = self._registry.serving
        if self._settings.default_model is not None or not serving:
            return self._settings.default_model
        own = [name for name in serving if self._registry.is_own(name)]
        if not own and ZOO_DEFAULT in serving:
            return ZOO_DEFAULT
        return max(own or serving, key=lambda name: (serving[name].exported_at, name))

    @property
    def widest(self) -> int:
        """The largest number of latents of one image."""
        return max((each.manifest.latent.dim for each in self._registry.serving.values()), default=0)

    def refusal(self) -> QueueFullError | None:
        """What to answer to a request that nobody has looked at yet, while the queue of every generator is full."""
        refusals = [generator.batcher.refusal() for generator in self._registry.serving.values()]
        full = [refusal for refusal in refusals if refusal is not None]
        return min(full, key=lambda each: each.retry_after) if full and len(full) == len(refusals) else None

    def get(self, name: str | None) -> Generator:
        """The generator of that name, or the default one if no name is given.

        Raises:
            UnknownModelError: there is none of that name.
            NotReadyError: none is loaded.
        """
        serving = self._registry.serving
        if not serving:
            raise NotReadyError("no generator is loaded; see the service's log")
        wanted = self.default_name if name is None else name
        if wanted is None or wanted not in serving:
            raise self._unknown(wanted, asked=name is not None)
        return serving[wanted]

    def _unknown(self, name: str | None, *, asked: bool) -> UnknownModelError:
        reason = self._why_not(name)
        what = "is unknown" if reason is None else f"is not served: {reason}"
        if name is not None and (near := nearest(name, self._registry.serving)):
            what += f", the nearest is {near}"
        whose = f"model {name!r}" if asked else f"the service's GAN_DEFAULT_MODEL, {name!r},"
        advice = "this service has" if asked else "name one of"
        names = ", ".join(sorted(self._registry.serving))
        return UnknownModelError(f"{whose} {what}; {advice} {names}", "model")

    def _why_not(self, name: str | None) -> str | None:
        """Why a generator that stands in the folders is not served; None: it doesn't."""
        problem = None if name is None else self._registry.problem_of(name)
        if problem is not None:
            return problem.reason
        return next((state.reason for state in self.states() if state.name == name), None)

    def reason_of(self, name: str) -> str | None:
        """Why a generator that is served is not what its folder holds; None if it is."""
        return self._registry.reason_of(name)

    def states(self) -> Sequence[ModelState]:
        """Everything that is served or stands in the folders, by name."""
        return self._registry.states(self._flags.unloaded())

    async def start(self) -> None:
        """Begin to watch the folders, and what the other workers are told."""
        if self._settings.reload_seconds or self._flags.shared or self._is_stalled:
            self._watcher.start()

    @property
    def _is_stalled(self) -> bool:
        """Whether something hangs that may come later: a source's list of artifacts, or an artifact."""
        return self._surveys.stalled or self._loads.stalled

    async def close(self) -> None:
        """Stop watching. Requests that are under way go on."""
        await self._watcher.close()
        await self._looks.close()

    async def reload(self) -> ReloadReport:
        """Look now, and try again what could not be loaded."""
        return await self._look(asked=True)

    async def load(self, name: str) -> None:
        """Serve what the folders hold of that name, also if it was unloaded.

        Raises:
            UnknownModelError: they hold none of that name.
            NotLoadableError: it can't be served; an older version goes on being served.
        """
        if name in self._flags.unloaded():
            self._flags.load(name)
        await self.reload()
        problem = self._registry.problem_of(name)
        if problem is not None:
            raise NotLoadableError(f"model {name!r} can't be loaded: {problem.reason}", "model")
        if name not in self._registry.serving:
            known = ", ".join(state.name for state in self.states()) or "none"
            raise UnknownModelError(f"model {name!r} is not in this service's folders; they have {known}", "model")

    async def unload(self, name: str) -> None:
        """Serve it no longer, in any worker, until `load`; requests that are under way are finished.

        Raises:
            UnknownModelError: it is not served.
        """
        async with self._looks.turn:
            if name not in self._registry.serving:
                known = ", ".join(sorted(self._registry.serving)) or "none"
                raise UnknownModelError(f"model {name!r} is not loaded; this service has {known}", "model")
            self._flags.unload(name)
            before = self.default_name
            self._registry.remove({name: "unloaded by request"})
            self._tell_default(before)

    def _load_at_start(self, is_stopping: Callable[[], bool]) -> None:
        # The first request should not wait for the modules that draw latents.
        drawing = threading.Thread(target=draw, args=([0], 1, "normal"))
        drawing.start()
        now = self._surveys.at_start(is_stopping)
        unloaded = self._flags.unloaded()
        loads = {folder: self._load_task(now, unloaded, folder) for folder in now.sources}
        # Several at once: sessions are made outside Python.
        examined = self._loads.run(loads, at_once=os.cpu_count() or 1, is_stopping=is_stopping)
        drawing.join()
        if is_stopping():
            return
        in_order = [examined[folder] for folder in now.sources if folder in examined]
        self._registry.take(now, in_order, unloaded, asked=True, starting=True)
        default = self._settings.default_model
        if default is not None and self._registry.serving and default not in self._registry.serving:
            error = self._unknown(default, asked=False)
            logger.warning("%s; requests that name no model are refused", error)

    async def _look(self, *, asked: bool) -> ReloadReport:
        return await self._looks.look(asked=asked)

    async def _compare(self, asked: bool) -> ReloadReport:
        """Compare the folders with what was seen, load what is new, and swap."""
        now = await self._surveys.now()
        if self._registry.is_sudden(now):
            await asyncio.sleep(GONE_SECONDS)
            now = await self._surveys.now()
        unloaded = self._flags.unloaded()
        news = [folder for folder in now.sources if self._registry.is_news(folder, now, unloaded, again=asked)]
        examined = await self._load(now, unloaded, news)
        # A folder that holds another artifact now has freed a name, for which another one may wait, and so on in turn.
        self._registry.note(now, examined)
        heirs = [folder for folder in now.sources if self._registry.is_heir(folder, now)]
        examined = [*examined, *await self._load(now, unloaded, heirs)]
        if self._is_stalled:
            await self.start()  # somebody has to see when they come
        before = self.default_name
        report = self._registry.take(now, examined, unloaded, asked=asked)
        self._tell_default(before)
        if asked:
            self._flags.ask()
        return report

    def _tell_default(self, before: str | None) -> None:
        """Say that requests without a model get another generator from now on, if they do."""
        now = self.default_name
        if now is not None and now != before:
            logger.info(
                "generator %s is now the default of requests that name none; set GAN_DEFAULT_MODEL to keep one", now
            )

    async def _load(self, now: Survey, unloaded: frozenset[str], folders: Sequence[Path]) -> Sequence[Examined]:
        """Those that are done in time, one after the other: serving needs the cores too."""
        found = [await self._loads.run_one(folder, self._load_task(now, unloaded, folder)) for folder in folders]
        return [each for each in found if each is not None]

    def _load_task(self, now: Survey, unloaded: frozenset[str], folder: Path) -> ThreadedTask[Examined]:
        return ThreadedTask(now.fingerprints[folder], partial(self._examine, now, unloaded, folder))

    def _examine(self, now: Survey, unloaded: frozenset[str], folder: Path) -> Examined:
        """In a thread: load, or find out why not."""
        return examine(
            folder,
            self._settings,
            serving=self._registry.serving,
            blocker=partial(self._registry.blocker, asker=folder, now=now),
            unloaded=unloaded,
            recorder=self._recorder,
        )


def _tell_stalled(folder: Path) -> None:
    logger.warning(
        "%s: is not read after %g s; its file system may hang; what it holds is served when it comes",
        folder, STALL_SECONDS,
    )  # fmt: skip
