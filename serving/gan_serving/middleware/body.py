"""The time that a request's body may take."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Generator
from typing import Any

from starlette.types import Message, Receive

from gan_serving.errors import RequestTimeoutError


def timed_receive(receive: Receive, seconds: float) -> Receive:
    """The same `receive`, which raises RequestTimeoutError when a request's body takes too long.

    The time runs from the first call, and no longer than until the body is complete: waiting for the caller to hang up
    is not limited. What has come already costs no timer.

    Args:
        receive: of an ASGI request.
        seconds: until the whole body must be there.
    """
    due: float | None = None
    complete = False

    async def timed() -> Message:
        nonlocal due, complete
        if complete:
            return await receive()
        receiving = _Begun(receive())
        if receiving.result is None:
            if due is None:
                due = asyncio.get_running_loop().time() + seconds
            limit = asyncio.timeout_at(due)
            try:
                async with limit:
                    receiving.result = await receiving
            except TimeoutError:
                if not limit.expired():
                    raise
                raise RequestTimeoutError(f"the body was not complete within {seconds:g} s; send it faster") from None
        complete = not receiving.result.get("more_body", False)
        return receiving.result

    return timed


class _Begun:
    """An awaitable that has run until it has to wait for the first time, which most never do."""

    __slots__ = ("_awaited", "_steps", "result")

    def __init__(self, awaitable: Awaitable[Message]) -> None:
        self._steps = awaitable.__await__()
        self._awaited: Any = None
        self.result: Message | None = None  # None: it has to wait
        try:
            self._awaited = next(self._steps)
        except StopIteration as end:
            self.result = end.value

    def __await__(self) -> Generator[Any, Any, Message]:
        try:
            while True:
                try:
                    sent = yield self._awaited
                except BaseException as error:  # noqa: BLE001  # cancellation too belongs to what is awaited
                    self._awaited = self._steps.throw(error)
                else:
                    self._awaited = self._steps.send(sent)
        except StopIteration as end:
            result: Message = end.value
            return result
