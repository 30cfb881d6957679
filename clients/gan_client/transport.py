"""How bytes travel: one try of an exchange over httpx, and httpx's exceptions as this package's."""

from __future__ import annotations

import asyncio
import os
import ssl
import threading
from collections.abc import Callable
from typing import Any, Final, NamedTuple, TypeVar

import httpx

from ._constants import CONNECT_TIMEOUT, KEEP_ALIVE, MAX_CONNECTIONS, MAX_RESPONSE_BYTES
from .errors import (
    ClientClosedError,
    ConnectionFailedError,
    DeadlineExceededError,
    GanError,
    InvalidArgumentError,
    UnexpectedResponseError,
)
from .exchange import Exchange, HttpAnswer
from .retry import Deadline, Stop, StoppedError

_C = TypeVar("_C")

_LIMITS: Final = httpx.Limits(
    max_connections=MAX_CONNECTIONS, max_keepalive_connections=MAX_CONNECTIONS, keepalive_expiry=KEEP_ALIVE
)


class Timeouts(dict[str, float]):
    """httpx's timeouts for one try, as its transports ask for them before each phase: what is left of the call's time
    then. A phase of several waits (addresses of a host that don't answer, headers that trickle) has it for each."""

    def __init__(self, deadline: Deadline) -> None:
        self._deadline = deadline
        # As they are now for who copies them.
        super().__init__({phase: self._left(phase) for phase in ("connect", "read", "write", "pool")})

    def __getitem__(self, phase: str) -> float:
        """Seconds for `connect`, `read`, `write` or `pool`."""
        return self._left(phase)

    def get(self, phase: str, default: object = None) -> float:  # noqa: ARG002  # all phases are there
        """The same."""
        return self._left(phase)

    def _left(self, phase: str) -> float:
        left = max(self._deadline.remaining, 1e-3)
        return min(left, CONNECT_TIMEOUT) if phase == "connect" else left


def translate(error: httpx.HTTPError, url: str, deadline: Deadline, request_id: str) -> GanError:
    """What an exception of httpx means to the caller."""
    reason = str(error) or type(error).__name__
    if isinstance(error, httpx.TimeoutException) and not isinstance(error, httpx.ConnectTimeout):
        return out_of_time(url, deadline, request_id)
    if isinstance(error, httpx.DecodingError):
        return UnexpectedResponseError(
            f"{url} answered with a body that can't be decompressed ({reason}): this does not look like a "
            "Ganworks service; check the URL (base_url=, --url or GAN_URL)",
            request_id=request_id,
        )
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.ProxyError):
        if not deadline.remaining:
            return out_of_time(url, deadline, request_id)
        if _is_of_tls(error):
            return InvalidArgumentError(
                f"no secure connection to {url} ({reason}): set SSL_CERT_FILE to the file of the certificate that the "
                "service's is signed with, or check whether the URL begins with http:// instead"
            )
        if proxy := _proxy_of(url):
            return ConnectionFailedError(
                f"no connection to {url} through the environment's proxy {proxy} ({reason}): check the proxy, or set "
                f"NO_PROXY={httpx.URL(url).host} to go without it"
            )
        return ConnectionFailedError(
            f"no connection to {url} ({reason}): start the service with "
            "`bentoml serve gan_serving.service:GanService`, or give its URL with base_url=, --url or GAN_URL"
        )
    return ConnectionFailedError(
        f"the connection to {url} broke ({reason}): check that a Ganworks service is behind this URL and still running",
        request_id=request_id,
    )


def _is_of_tls(error: BaseException | None) -> bool:
    """Whether an exception of httpx comes from the handshake, and not from its end before it was complete: trying
    again won't help."""
    while error is not None:
        if isinstance(error, ssl.SSLError):
            return not isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError | ssl.SSLSyscallError)
        error = error.__cause__ or error.__context__
    return False


def _proxy_of(url: str) -> str | None:
    """The proxy that the environment sends requests to `url` through, without its password; None: they go directly."""
    from urllib.request import getproxies, proxy_bypass

    target, proxies = httpx.URL(url), getproxies()
    proxy = proxies.get(target.scheme) or proxies.get("all")
    if not proxy or proxy_bypass(target.host):
        return None
    return proxy.rpartition("@")[2]


def out_of_time(url: str, deadline: Deadline, request_id: str) -> DeadlineExceededError:
    """The call's time is over."""
    return DeadlineExceededError(
        f"no complete answer from {url} within {deadline.seconds:g} s: allow more time with timeout= or "
        "--timeout, or ask for fewer images",
        request_id=request_id,
    )


class _Body:
    """The body of an answer while it comes."""

    def __init__(self, url: str, deadline: Deadline, request_id: str) -> None:
        self._url, self._deadline, self._request_id = url, deadline, request_id
        self._bytes = bytearray()

    def take(self, chunk: bytes) -> None:
        """Raises DeadlineExceededError, UnexpectedResponseError."""
        self._bytes += chunk
        # httpx's read timeout starts anew with every chunk: a trickle would never end.
        if not self._deadline.remaining:
            raise out_of_time(self._url, self._deadline, self._request_id)
        if len(self._bytes) > MAX_RESPONSE_BYTES:
            raise UnexpectedResponseError(
                f"{self._url} answered with more than {MAX_RESPONSE_BYTES} bytes: ask for fewer images",
                request_id=self._request_id,
            )

    def whole(self) -> bytes:
        """All that came."""
        return bytes(self._bytes)


class _ProcessPool(NamedTuple):
    """The connections of one process."""

    http: httpx.Client
    turns: threading.Semaphore
    """Waited for here, so that httpx is told what is left then."""


class HttpTransport:
    """A pool of connections to one service for each process; may be shared by threads.

    A process that was forked has its parent's connections too: two that ask on one get each other's answers.
    """

    def __init__(self, url: str, headers: dict[str, str], transport: httpx.BaseTransport | None) -> None:
        """Raises InvalidArgumentError if the URL or the environment's proxy and TLS settings don't work."""
        self._url, self._headers, self._transport = url, headers, transport
        self._pools = {os.getpid(): _opened(url, self._open)}
        self._is_closed = False

    def _open(self) -> _ProcessPool:
        http = httpx.Client(base_url=self._url, headers=self._headers, transport=self._transport, limits=_LIMITS)
        return _ProcessPool(http, threading.Semaphore(MAX_CONNECTIONS))

    def _pool(self) -> _ProcessPool:
        """That of this process. No lock: a thread of the parent might have held it while it forked."""
        pool = self._pools.get(os.getpid())
        if self._is_closed:
            raise ClientClosedError
        return pool or self._pools.setdefault(os.getpid(), _opened(self._url, self._open))

    def send(self, exchange: Exchange[Any], deadline: Deadline, stop: Stop | None) -> HttpAnswer:
        """One try. Raises ClientClosedError, ConnectionFailedError, DeadlineExceededError, UnexpectedResponseError,
        StoppedError."""
        pool = self._pool()
        if not pool.turns.acquire(timeout=deadline.remaining):
            raise out_of_time(self._url, deadline, exchange.request_id)
        try:
            return self._send(pool.http, exchange, deadline, stop)
        finally:
            pool.turns.release()

    def _send(self, http: httpx.Client, exchange: Exchange[Any], deadline: Deadline, stop: Stop | None) -> HttpAnswer:
        body = _Body(self._url, deadline, exchange.request_id)
        try:
            with http.stream(
                exchange.method,
                exchange.path,
                content=exchange.body,
                headers=exchange.headers,
                extensions={"timeout": Timeouts(deadline)},
            ) as response:
                for chunk in response.iter_bytes():
                    if stop is not None and stop.is_set():
                        raise StoppedError
                    body.take(chunk)
                return exchange.answer(response.status_code, response.headers, body.whole())
        except (httpx.HTTPError, RuntimeError) as error:
            if http.is_closed:
                raise ClientClosedError from error
            if isinstance(error, httpx.HTTPError):
                raise translate(error, self._url, deadline, exchange.request_id) from error
            raise

    def close(self) -> None:
        """Close all connections of this process."""
        self._is_closed = True
        if pool := self._pools.get(os.getpid()):
            pool.http.close()


class _LoopPool(NamedTuple):
    """The connections of one event loop."""

    http: httpx.AsyncClient
    turns: asyncio.Semaphore
    """httpx looks through all that wait whenever one is done: a thousand would take it ten seconds."""


class AsyncHttpTransport:
    """A pool of connections to one service for each event loop: those of another one, or of one that ended, are no use.

    So a client outlives `asyncio.run`, and may be shared by threads that have a loop each.
    """

    def __init__(self, url: str, headers: dict[str, str], transport: httpx.AsyncBaseTransport | None) -> None:
        """Raises InvalidArgumentError if the URL or the environment's proxy and TLS settings don't work."""
        self._url, self._headers, self._transport = url, headers, transport
        self._first: httpx.AsyncClient | None = _opened(url, self._open)
        self._pools: dict[asyncio.AbstractEventLoop, _LoopPool] = {}
        self._lock = threading.Lock()  # of what threads with a loop each change
        self._is_closed = False

    def _open(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=self._url, headers=self._headers, transport=self._transport, limits=_LIMITS)

    def _pool(self) -> _LoopPool:
        """That of the running loop."""
        loop = asyncio.get_running_loop()
        pool = self._pools.get(loop)
        if pool is not None and not self._is_closed:
            return pool
        with self._lock:
            if self._is_closed:
                raise ClientClosedError
            for ended in [each for each in self._pools if each.is_closed()]:
                del self._pools[ended]
            http, self._first = self._first or self._open(), None
            pool = self._pools[loop] = _LoopPool(http, asyncio.Semaphore(MAX_CONNECTIONS))
        return pool

    async def send(self, exchange: Exchange[Any], deadline: Deadline) -> HttpAnswer:
        """One try. Raises ClientClosedError, ConnectionFailedError, DeadlineExceededError, UnexpectedResponseError."""
        pool = self._pool()
        try:
            async with asyncio.timeout(deadline.remaining), pool.turns:
                return await self._send(pool.http, exchange, deadline)
        except TimeoutError as error:
            raise out_of_time(self._url, deadline, exchange.request_id) from error

    async def _send(self, http: httpx.AsyncClient, exchange: Exchange[Any], deadline: Deadline) -> HttpAnswer:
        body = _Body(self._url, deadline, exchange.request_id)
        try:
            async with http.stream(
                exchange.method,
                exchange.path,
                content=exchange.body,
                headers=exchange.headers,
                extensions={"timeout": Timeouts(deadline)},
            ) as response:
                async for chunk in response.aiter_bytes():
                    body.take(chunk)
                return exchange.answer(response.status_code, response.headers, body.whole())
        except httpx.HTTPError as error:
            raise translate(error, self._url, deadline, exchange.request_id) from error
        except RuntimeError as error:
            if http.is_closed:
                raise ClientClosedError from error
            raise

    async def close(self) -> None:
        """Close the connections of the running loop; further calls fail, in every loop, which closes its own."""
        with self._lock:
            self._is_closed = True
            pool = self._pools.pop(asyncio.get_running_loop(), None)
            first, self._first = self._first, None
        for http in (first, pool and pool.http):
            if http is not None:
                await http.aclose()


def _opened(url: str, make: Callable[[], _C]) -> _C:
    try:
        _ = httpx.URL(url).host  # decoded here, and in each request
        return make()
    except (httpx.InvalidURL, ImportError, OSError, ValueError) as error:
        raise InvalidArgumentError(
            f"can't talk HTTP to {url} ({error}): check the URL, and the environment's proxy and SSL_CERT_* settings"
        ) from error
