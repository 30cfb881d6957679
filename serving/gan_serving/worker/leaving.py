"""Stop working for a caller who has hung up."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Final, TypeVar

from starlette.types import Receive

from gan_serving.errors import CallerLeftError

_T = TypeVar("_T")

PATIENCE: Final = 0.05
"""Seconds until somebody looks whether the caller is still there: most answers are ready before, and cost no look."""


async def unless_caller_leaves(receive: Receive, work: Awaitable[_T]) -> _T:
    """Await `work`; when the connection closes first, cancel it.

    Args:
        receive: of the request, whose body was read to its end.
        work: what the caller waits for.

    Raises:
        CallerLeftError: the caller is gone, and the work was cancelled.
    """
    task = asyncio.current_task()
    assert task is not None
    left = False
    watcher: asyncio.Task[None] | None = None

    async def watch() -> None:
        nonlocal left
        while (await receive())["type"] != "http.disconnect":
            pass
        left = True
        task.cancel()

    def start() -> None:
        nonlocal watcher
        watcher = asyncio.create_task(watch())

    timer = asyncio.get_running_loop().call_later(PATIENCE, start)
    try:
        return await work
    except asyncio.CancelledError:
        if not left:
            raise
        task.uncancel()
        raise CallerLeftError("the caller closed the connection before the answer was ready") from None
    finally:
        timer.cancel()
        if watcher is not None:
            watcher.cancel()
