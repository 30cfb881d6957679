"""Reading file systems that may hang: each task has a thread of its own, and is waited for a limited time."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Mapping
from concurrent.futures import Future
from typing import Final, Generic, NamedTuple, TypeVar

STALL_SECONDS: Final = 30.0
"""How long a task is waited for, unless its caller has less time. What comes later is taken at a later look."""
_LOOK_SECONDS: Final = 0.1  # between looks whether the process is to end

_Key = TypeVar("_Key", bound=Hashable)
_Result = TypeVar("_Result")


class ThreadedTask(NamedTuple, Generic[_Result]):
    """What is to be done, and on what: a result is good for as long as its subject is the same."""

    subject: object
    work: Callable[[], _Result]


class _Pending(NamedTuple, Generic[_Result]):
    subject: object
    future: Future[_Result]


class ThreadedTasks(Generic[_Key, _Result]):
    """Tasks by key, one at a time for each. A thread that hangs for ever keeps no process from ending.

    Args:
        on_stall: is told the key of each that is no longer waited for.
    """

    def __init__(self, on_stall: Callable[[_Key], None]) -> None:
        self._under_way: dict[_Key, _Pending[_Result]] = {}
        self._on_stall = on_stall

    @property
    def stalled(self) -> bool:
        """Whether there are some that nobody waits for."""
        return bool(self._under_way)

    @property
    def news(self) -> bool:
        """Whether one of these has a result by now."""
        return any(each.future.done() for each in self._under_way.values())

    def run(
        self, tasks: Mapping[_Key, ThreadedTask[_Result]], *, at_once: int, is_stopping: Callable[[], bool]
    ) -> dict[_Key, _Result]:
        """The results of tasks that are done in time.

        Args:
            tasks: by key, of which none is under way.
            at_once: how many may run side by side, beside those that hang.
            is_stopping: asked all the time; once it is true, nothing is waited for.
        """
        waiting, results = deque(tasks.items()), dict[_Key, _Result]()
        running: dict[Future[_Result], tuple[_Key, float]] = {}
        while (waiting or running) and not is_stopping():
            while waiting and len(running) < at_once:
                key, task = waiting.popleft()
                running[self._begin(key, task)] = (key, time.monotonic() + STALL_SECONDS)
            done, others = concurrent.futures.wait(running, _LOOK_SECONDS, concurrent.futures.FIRST_COMPLETED)
            for future in done:
                key, _ = running.pop(future)
                results[key] = self._take(key)
            for future in others:
                key, end = running[future]
                if time.monotonic() > end:
                    del running[future]
                    self._on_stall(key)
        return results

    async def run_one(self, key: _Key, task: ThreadedTask[_Result], seconds: float | None = None) -> _Result | None:
        """The result of one task; None: it is not done in time, or an earlier one of this key still isn't.

        Args:
            key: of the task.
            task: to be done.
            seconds: how long it is waited for; default: STALL_SECONDS.
        """
        earlier = self._under_way.get(key)
        if earlier is not None:
            if not earlier.future.done():
                return None
            if earlier.subject == task.subject:
                return self._take(key)
        future = self._begin(key, task)
        aside = asyncio.wrap_future(future)
        aside.add_done_callback(lambda done: done.cancelled() or done.exception())  # or asyncio would complain of it
        done, _ = await asyncio.wait([aside], timeout=STALL_SECONDS if seconds is None else seconds)
        if done:
            return self._take(key)
        self._on_stall(key)
        return None

    def _begin(self, key: _Key, task: ThreadedTask[_Result]) -> Future[_Result]:
        future: Future[_Result] = Future()
        self._under_way[key] = _Pending(task.subject, future)
        threading.Thread(target=_do, args=(future, task.work), name=f"task {key}", daemon=True).start()
        return future

    def _take(self, key: _Key) -> _Result:
        return self._under_way.pop(key).future.result()


def _do(future: Future[_Result], work: Callable[[], _Result]) -> None:
    try:
        future.set_result(work())
    except BaseException as error:  # noqa: BLE001 - who takes the result is told
        future.set_exception(error)
