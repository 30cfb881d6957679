"""The asynchronous client: `GanClient` for asyncio."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar

from ._constants import DEFAULT_MAX_RETRIES, DEFAULT_TIMEOUT, STREAM_AHEAD, STREAM_CHUNK
from .arguments import Label
from .astream import AsyncImageStream
from .base import BaseClient
from .binding import Awaiting, AwaitingRaw
from .calls import Calls, ModelCalls
from .exchange import Exchange
from .raw import RawResponse
from .session import AsyncSession, Options, address
from .stream import StreamPlan

if TYPE_CHECKING:
    import httpx

_T = TypeVar("_T")


class _Results(Awaiting):
    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def _run(self, build: Callable[[], Exchange[_T]]) -> _T:
        return (await self._session.ask(build())).parse()


class _Raw(AwaitingRaw):
    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def _run(self, build: Callable[[], Exchange[_T]]) -> RawResponse[_T]:
        return await self._session.ask(build())


class AsyncModels(ModelCalls, _Results):
    """The generators of a service: `client.models`. Each call is awaited."""


class AsyncRawModels(ModelCalls, _Raw):
    """The calls of `client.models`, each awaited for a `RawResponse`."""


class AsyncRawCalls(Calls, _Raw):
    """The calls of a client, each awaited for a `RawResponse`: `client.with_raw_response`."""

    @property
    def models(self) -> AsyncRawModels:
        """The generators of the service."""
        return AsyncRawModels(self._session)


class AsyncGanClient(Calls, _Results, BaseClient[AsyncSession]):
    """Asks a Ganworks service for images; `GanClient` for asyncio, each call is awaited.

        async with AsyncGanClient("http://localhost:3000") as client:
            sevens, eights = await asyncio.gather(client.generate(64, label=7), client.generate(64, label=8))

    Close it, or use it as a context manager, to release its connections. Tasks may share one, and so may event loops,
    at a time or one after the other: each has its own connections. Cancelling a task cancels its request.
    """

    def __init__(
        self,
        base_url: str | None = None,
        api_key: str | None = None,
        timeout: float = DEFAULT_TIMEOUT,
        max_retries: int = DEFAULT_MAX_RETRIES,
        transport: httpx.AsyncBaseTransport | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """
        Args:
            base_url: `http[s]://host[:port][/path]`; else GAN_URL, else http://localhost:3000.
            api_key: sent as `Authorization: Bearer ...`; else GAN_API_KEY, else none.
            timeout: seconds for one call, all its tries and pauses included, 0 < timeout <= 86400.
            max_retries: further tries after a broken connection or status 429, 502, 503 or 504; 0 to 100.
            transport: where httpx sends requests, e.g. `httpx.ASGITransport`; the network by default. One with
                connections of its own ties the client to one event loop.
            headers: sent with every request, e.g. what a gateway before the service asks for; they take the place of
                the client's own of the same name, but for X-Request-ID and Content-Type. Content-Length and
                Transfer-Encoding are refused.

        Raises:
            InvalidArgumentError: a value is out of its range.
        """
        url, headers = address(base_url, api_key, headers)
        super().__init__(AsyncSession.open(url, headers, Options(timeout, max_retries), transport))

    @property
    def models(self) -> AsyncModels:
        """The generators of the service: `list()`, `get(name)`, `card(name)`, `preview(name)`."""
        return AsyncModels(self._session)

    @property
    def with_raw_response(self) -> AsyncRawCalls:
        """The same calls, each awaited for a `RawResponse` with status, headers, bytes and timing.

        An error status is returned like any other: `parse()` raises for it.
        """
        return AsyncRawCalls(self._session)

    def stream(
        self,
        n: int,
        label: Label | Iterable[Label] | None = None,
        *,
        seed: int | None = None,
        truncation: float | None = None,
        model: str | None = None,
        chunk: int = STREAM_CHUNK,
        ahead: int = STREAM_AHEAD,
    ) -> AsyncImageStream:
        """Draw any number of images, one after the other, in constant memory; not awaited itself.

            async with client.stream(100_000, label=itertools.cycle(range(10)), seed=0) as images:
                async for image in images:
                    ...

        The arguments and errors are those of `GanClient.stream`.
        """
        return AsyncImageStream(self._session, StreamPlan(n, label, seed, truncation, model, chunk), ahead)

    async def aclose(self) -> None:
        """Release the connections of this event loop; further calls raise ClientClosedError."""
        await self._session.transport.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()
