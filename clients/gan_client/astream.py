"""`ImageStream` for tasks."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from types import TracebackType
from typing import TYPE_CHECKING, Self

from .images import Generation, Image
from .stream import StreamPlan, StreamProgress

if TYPE_CHECKING:
    from asyncio import Task

    from .exchange import Exchange
    from .session import AsyncSession


class AsyncImageStream(StreamProgress, AsyncIterator[Image]):
    """The images of `client.stream`, in the order of their seeds. Use `async with`, or `await aclose()`, to cancel its
    requests before the last image; a stream that nobody holds any more cancels them too. Several tasks may share one:
    each image goes to one of them."""

    def __init__(self, session: AsyncSession, plan: StreamPlan, ahead: int) -> None:
        from asyncio import Lock

        super().__init__(plan, ahead)
        self._session = session
        self._flying: deque[Task[Generation]] = deque()
        self._turn = Lock()
        self._is_closed = False

    async def __anext__(self) -> Image:
        """The next image. Raises GanError if its chunk fails for good or the wait for it is cancelled, and at each call
        after that."""
        async with self._turn:
            while True:
                for image in self._images:
                    self.done += 1
                    return image
                generation = await self._next_chunk()
                if generation is None:
                    self._refuse_broken()
                    raise StopAsyncIteration
                self._images = iter(generation)

    async def _next_chunk(self) -> Generation | None:
        from asyncio import CancelledError, current_task

        try:
            self._fill()
            if not self._flying:
                return None
            # Taken off only when it is done: until then aclose() has to cancel it.
            generation = await self._flying[0]
            if self._is_closed:  # by another task, when the images had just come
                return None
            self._flying.popleft()
            self._plan.accept(generation)
            self._fill()  # before these are used: the next ones are drawn meanwhile
        except BaseException as error:
            task = current_task()
            if isinstance(error, CancelledError) and self._is_closed and task is not None and not task.cancelling():
                return None  # another task closed it
            self._is_broken = True
            await self.aclose()
            explained = self._plan.explain(error, self.done)
            if explained is error:
                raise
            raise explained from error
        return generation

    async def aclose(self) -> None:
        """Cancel the requests under way, and give up the images that were not given yet."""
        from asyncio import gather

        self._is_closed = True
        self._images = iter(())
        self._exchanges = iter(())
        tasks = list(self._flying)
        self._flying.clear()
        for task in tasks:
            task.cancel()
        await gather(*tasks, return_exceptions=True)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __del__(self) -> None:
        for task in getattr(self, "_flying", ()):
            if not task.get_loop().is_closed():
                task.cancel()

    def __repr__(self) -> str:
        return f"AsyncImageStream(n={self.n}, seed={self.seed}, done={self.done}, model={self.model!r})"

    def _fill(self) -> None:
        from asyncio import create_task

        while len(self._flying) < self._ahead:
            exchange = next(self._exchanges, None)
            if exchange is None:
                return
            task = create_task(_fetch(self._session, exchange))
            # Looked at here, so that asyncio doesn't complain of an error that comes after the stream was closed.
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
            self._flying.append(task)


async def _fetch(session: AsyncSession, exchange: Exchange[Generation]) -> Generation:
    return (await session.ask(exchange)).parse()
