"""The synchronous client."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar

from ._constants import DEFAULT_MAX_RETRIES, DEFAULT_TIMEOUT, STREAM_AHEAD, STREAM_CHUNK
from .arguments import Label
from .base import BaseClient
from .binding import Blocking, BlockingRaw
from .calls import Calls, ModelCalls
from .exchange import Exchange
from .raw import RawResponse
from .session import Options, Session, address
from .stream import ImageStream, StreamPlan

if TYPE_CHECKING:
    import httpx

_T = TypeVar("_T")


class _Results(Blocking):
    def __init__(self, session: Session) -> None:
        self._session = session

    def _run(self, build: Callable[[], Exchange[_T]]) -> _T:
        return self._session.ask(build()).parse()


class _Raw(BlockingRaw):
    def __init__(self, session: Session) -> None:
        self._session = session

    def _run(self, build: Callable[[], Exchange[_T]]) -> RawResponse[_T]:
        return self._session.ask(build())


class Models(ModelCalls, _Results):
    """The generators of a service: `client.models`."""


class RawModels(ModelCalls, _Raw):
    """The calls of `client.models`, each returning a `RawResponse`."""


class RawCalls(Calls, _Raw):
    """The calls of a client, each returning a `RawResponse`: `client.with_raw_response`."""

    @property
    def models(self) -> RawModels:
        """The generators of the service."""
        return RawModels(self._session)


class GanClient(Calls, _Results, BaseClient[Session]):
    """Asks a Ganworks service for images.

        with GanClient("http://localhost:3000") as client:
            client.generate(64, label=7).grid().save("sevens.png")

    Close it, or use it as a context manager, to release its connections. Threads may share one, and so may processes
    that are forked: each has its own connections, unless `transport` has them.
    """

    def __init__(
        self,
        base_url: str | None = None,
        api_key: str | None = None,
        timeout: float = DEFAULT_TIMEOUT,
        max_retries: int = DEFAULT_MAX_RETRIES,
        transport: httpx.BaseTransport | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """
        Args:
            base_url: `http[s]://host[:port][/path]`; else GAN_URL, else http://localhost:3000.
            api_key: sent as `Authorization: Bearer ...`; else GAN_API_KEY, else none.
            timeout: seconds for one call, all its tries and pauses included, 0 < timeout <= 86400.
            max_retries: further tries after a broken connection or status 429, 502, 503 or 504; 0 to 100.
            transport: where httpx sends requests, e.g. `httpx.WSGITransport`; the network by default.
            headers: sent with every request, e.g. what a gateway before the service asks for; they take the place of
                the client's own of the same name, but for X-Request-ID and Content-Type. Content-Length and
                Transfer-Encoding are refused.

        Raises:
            InvalidArgumentError: a value is out of its range.
        """
        url, headers = address(base_url, api_key, headers)
        super().__init__(Session.open(url, headers, Options(timeout, max_retries), transport))

    @property
    def models(self) -> Models:
        """The generators of the service: `list()`, `get(name)`, `card(name)`, `preview(name)`."""
        return Models(self._session)

    @property
    def with_raw_response(self) -> RawCalls:
        """The same calls, each returning a `RawResponse` with status, headers, bytes and timing.

        An error status is returned like any other: `parse()` raises for it.
        """
        return RawCalls(self._session)

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
    ) -> ImageStream:
        """Draw any number of images, one after the other, in constant memory.

            with client.stream(100_000, label=itertools.cycle(range(10)), seed=0) as images:
                for image in images:
                    ...

        Images are asked for in chunks; `timeout` and `max_retries` hold for each chunk. A stream that broke off can
        be continued: `stream.seed + stream.done` is the seed of the next image.

        Args:
            n: number of images, 1 or more.
            label: class id or class name for all images, or an iterable with one for each, which is read as it is
                needed and may be longer; drawn from each image's seed when None.
            seed: image i has seed + i, 0 <= seed and seed + n <= 2**53; chosen at random here when None.
            truncation: cut normal latents to [-t, t], 0 < t <= 10.
            model: name of the generator; when None, the one that `models.list()` marks as default.
            chunk: images of one request, 1 to the service's limit.
            ahead: requests that are under way at once, 1 to 64.

        Raises:
            InvalidArgumentError: an argument is out of its range.
        """
        return ImageStream(self._session, StreamPlan(n, label, seed, truncation, model, chunk), ahead)

    def close(self) -> None:
        """Release the connections; further calls raise ClientClosedError."""
        self._session.transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
