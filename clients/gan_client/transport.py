"""How bytes travel: one try of an exchange over httpx, and httpx's exceptions as this package's."""

from __future__ import annotations

from typing import Any

import httpx

from ._constants import CONNECT_TIMEOUT, MAX_RESPONSE_BYTES
from .errors import (
    ConnectionFailedError,
    DeadlineExceededError,
    GanError,
    InvalidArgumentError,
    UnexpectedResponseError,
)
from .exchange import Answer, Exchange
from .retry import Deadline


def timeouts(deadline: Deadline) -> httpx.Timeout:
    """httpx's timeouts for one try: no single wait may outlast the call's deadline."""
    left = max(deadline.remaining, 1e-3)
    return httpx.Timeout(left, connect=min(left, CONNECT_TIMEOUT))


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
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        if not deadline.remaining:
            return out_of_time(url, deadline, request_id)
        return ConnectionFailedError(
            f"no connection to {url} ({reason}): start the service with `bentoml serve`, or give its URL "
            "with base_url=, --url or GAN_URL"
        )
    return ConnectionFailedError(
        f"the connection to {url} broke ({reason}): check that a Ganworks service (`bentoml serve`) is "
        "behind this URL and still running",
        request_id=request_id,
    )


def out_of_time(url: str, deadline: Deadline, request_id: str) -> DeadlineExceededError:
    """The call's time is over."""
    return DeadlineExceededError(
        f"no complete answer from {url} within {deadline.seconds:g} s: allow more time with timeout= or "
        "--timeout, or ask for fewer images",
        request_id=request_id,
    )


class HttpTransport:
    """A pool of connections to one service; may be shared by threads."""

    def __init__(self, url: str, headers: dict[str, str], transport: httpx.BaseTransport | None) -> None:
        """Raises InvalidArgumentError if the URL or the environment's proxy and TLS settings don't work."""
        self._url = url
        try:
            self._http = httpx.Client(base_url=url, headers=headers, transport=transport)
        except (httpx.InvalidURL, ImportError, OSError, ValueError) as error:
            raise InvalidArgumentError(
                f"can't talk HTTP to {url} ({error}): check the URL, and the environment's proxy and "
                "SSL_CERT_* settings"
            ) from error

    def send(self, exchange: Exchange[Any], deadline: Deadline) -> Answer:
        """One try. Raises ConnectionFailedError, DeadlineExceededError, UnexpectedResponseError."""
        try:
            with self._http.stream(
                exchange.method,
                exchange.path,
                content=exchange.body,
                headers=exchange.headers,
                timeout=timeouts(deadline),
            ) as response:
                body = bytearray()
                for chunk in response.iter_bytes():
                    body += chunk
                    # httpx's read timeout starts anew with every chunk: a trickle would never end.
                    if not deadline.remaining:
                        raise out_of_time(self._url, deadline, exchange.request_id)
                    if len(body) > MAX_RESPONSE_BYTES:
                        raise UnexpectedResponseError(
                            f"{self._url} answered over {MAX_RESPONSE_BYTES} bytes: ask for fewer images",
                            request_id=exchange.request_id,
                        )
                return exchange.answer(response.status_code, response.headers, bytes(body))
        except httpx.HTTPError as error:
            raise translate(error, self._url, deadline, exchange.request_id) from error

    def close(self) -> None:
        """Close all connections."""
        self._http.close()
