"""From an exchange to its answer: settings, connections, tries and pauses; once with threads, once with tasks."""

from __future__ import annotations

import logging
import os
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Self, TypeVar

from . import retry
from ._constants import DEFAULT_URL, MAX_RETRIES, MAX_TIMEOUT
from .arguments import header_fields, integer, key_text, positive, service_url
from .errors import GanError
from .exchange import Exchange, HttpAnswer
from .raw import RawResponse

if TYPE_CHECKING:
    import httpx

    from .transport import AsyncHttpTransport, HttpTransport

_T = TypeVar("_T")

_log: Final = logging.getLogger("gan_client")


@dataclass(frozen=True)
class Options:
    """How a client behaves. Raises InvalidArgumentError for what is out of its range."""

    timeout: float
    """Seconds for one call, all its tries and pauses included, 0 < timeout <= 86400."""

    max_retries: int
    """Further tries after a broken connection or status 429, 502, 503 or 504; 0 to 100."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "timeout", positive("timeout", self.timeout, MAX_TIMEOUT))
        object.__setattr__(self, "max_retries", integer("max_retries", self.max_retries, 0, MAX_RETRIES))

    def changed(self, timeout: float | None, max_retries: int | None) -> Self:
        """These with what is given."""
        return replace(
            self,
            timeout=self.timeout if timeout is None else timeout,
            max_retries=self.max_retries if max_retries is None else max_retries,
        )


def address(
    base_url: str | None, api_key: str | None, own_headers: Mapping[str, str] | None
) -> tuple[str, dict[str, str]]:
    """The service's URL and the headers of every call, from arguments or the environment; the caller's own headers
    take the place of others of their name.

    Raises InvalidArgumentError.
    """
    url = service_url(base_url or os.environ.get("GAN_URL") or DEFAULT_URL)
    headers = {"User-Agent": "gan-client"}
    key = api_key if api_key is not None else os.environ.get("GAN_API_KEY") or None
    if key is not None:
        headers["Authorization"] = f"Bearer {key_text(key)}"
    return url, headers | header_fields(own_headers)


class _Tries:
    """The tries of one call: what came of the last one, and how long to wait for the next."""

    def __init__(self, exchange: Exchange[_T], options: Options, url: str) -> None:
        self.deadline = retry.Deadline(options.timeout)
        self._exchange, self._url = exchange, url
        self._max_retries = options.max_retries if exchange.retried else 0
        self._began = time.monotonic()
        self._tries = 0

    def pause(self, outcome: HttpAnswer | GanError) -> float | None:
        """Seconds until the next try; None if there is none."""
        self._tries += 1
        error = outcome if isinstance(outcome, GanError) else self._exchange.passing_failure(outcome, self._url)
        if error is None:
            return None
        wait = retry.pause(
            error,
            tries=self._tries,
            max_retries=self._max_retries,
            remaining=self.deadline.remaining,
            draw=random.random(),
        )
        if wait is not None:
            _log.info("try %d of %d failed, again in %.1f s: %s", self._tries, self._max_retries + 1, wait, error)
        return wait

    def end(self, exchange: Exchange[_T], outcome: HttpAnswer | GanError) -> RawResponse[_T]:
        """The last answer, whatever its status. Raises the error that came in its place."""
        if isinstance(outcome, GanError):
            raise outcome
        return RawResponse(outcome, exchange, self._url, self._tries, time.monotonic() - self._began)


@dataclass(frozen=True)
class Session:
    """A service as threads reach it."""

    url: str
    options: Options
    transport: HttpTransport

    @classmethod
    def open(cls, url: str, headers: dict[str, str], options: Options, transport: httpx.BaseTransport | None) -> Self:
        """Raises InvalidArgumentError."""
        # httpx takes longer to import than all the rest: `gan-client --help` doesn't wait for it.
        from .transport import HttpTransport

        return cls(url, options, HttpTransport(url, headers, transport))

    def ask(self, exchange: Exchange[_T], stop: retry.Stop | None = None) -> RawResponse[_T]:
        """The answer, after as many tries as it takes and may take.

        Raises GanError of every kind but StatusError; StoppedError soon after `stop` is set.
        """
        tries = _Tries(exchange, self.options, self.url)
        while True:
            outcome: HttpAnswer | GanError
            try:
                outcome = self.transport.send(exchange, tries.deadline, stop)
            except GanError as error:
                outcome = error
            wait = tries.pause(outcome)
            if wait is None:
                return tries.end(exchange, outcome)
            if stop is None:
                time.sleep(wait)
            elif stop.wait(wait):
                raise retry.StoppedError


@dataclass(frozen=True)
class AsyncSession:
    """A service as tasks reach it."""

    url: str
    options: Options
    transport: AsyncHttpTransport

    @classmethod
    def open(
        cls, url: str, headers: dict[str, str], options: Options, transport: httpx.AsyncBaseTransport | None
    ) -> Self:
        """Raises InvalidArgumentError."""
        from .transport import AsyncHttpTransport

        return cls(url, options, AsyncHttpTransport(url, headers, transport))

    async def ask(self, exchange: Exchange[_T]) -> RawResponse[_T]:
        """The answer, after as many tries as it takes and may take. Raises GanError of every kind but StatusError."""
        import asyncio

        tries = _Tries(exchange, self.options, self.url)
        while True:
            outcome: HttpAnswer | GanError
            try:
                outcome = await self.transport.send(exchange, tries.deadline)
            except GanError as error:
                outcome = error
            wait = tries.pause(outcome)
            if wait is None:
                return tries.end(exchange, outcome)
            await asyncio.sleep(wait)
