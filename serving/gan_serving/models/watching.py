"""Looks at the artifact folders: every GAN_RELOAD_SECONDS, and soon after another worker was told something."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections.abc import Awaitable, Callable
from typing import Final

from gan_client.types import ReloadReport
from gan_serving.process.shared_flags import SharedFlags

logger = logging.getLogger("bentoml.ganworks")

FLAG_SECONDS: Final = 1.0  # between looks for what another worker was told, however seldom the folders are looked at


class Looks:
    """Looks at the folders, one at a time. They go on when their callers' time is over: what a look has loaded by then
    would be lost, and with it what it has learned of the folders.

    Args:
        compare: looks; is told whether somebody asked for it.
    """

    def __init__(self, compare: Callable[[bool], Awaitable[ReloadReport]]) -> None:
        self.turn = asyncio.Lock()
        self._compare = compare
        self._tasks: set[asyncio.Task[ReloadReport]] = set()  # under way, or waiting for their turn
        self._next: asyncio.Task[ReloadReport] | None = None  # the one of these that was asked for and has not begun

    async def look(self, *, asked: bool) -> ReloadReport:
        """What a look finds that begins now or later."""
        task = self._next if asked else None
        if task is None:
            task = asyncio.create_task(self._in_turn(asked))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            self._next = task if asked else self._next
        return await asyncio.shield(task)

    async def close(self) -> None:
        """End all of them."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _in_turn(self, asked: bool) -> ReloadReport:
        async with self.turn:
            self._next = None if asked else self._next
            return await self._compare(asked)


class Watcher:
    """Looks again and again, in a task of its own.

    Args:
        look: at the folders.
        flags: what the workers tell each other; what they say from now on is not missed.
        has_news: whether something has come that a look waited for in vain.
        period: seconds between looks that nobody asked for; 0: none.
    """

    def __init__(
        self, look: Callable[[], Awaitable[object]], flags: SharedFlags, has_news: Callable[[], bool], period: float
    ) -> None:
        self._look, self._flags, self._has_news = look, flags, has_news
        self._period = period or math.inf
        self._told = flags.state()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin, if that is not done yet."""
        if self._task is None:
            self._task = asyncio.create_task(self._watch())

    async def close(self) -> None:
        """Stop."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    async def _watch(self) -> None:
        left = self._period  # seconds until the folders' turn
        while True:
            pause = min(FLAG_SECONDS, left)
            await asyncio.sleep(pause)
            left -= pause
            is_due = left <= 0
            left = self._period if is_due else left  # before what may fail: there is a pause after a fault too
            try:
                self._flags.keep()
                told = self._flags.state()
                if is_due or told != self._told or self._has_news():
                    left = self._period
                    await self._look()
                self._told = told
            except Exception:  # whatever it is, serving goes on and the next look may go well
                logger.exception("looking for changed artifacts failed; the next look is soon")
