"""The answer behind a result, for those who need its status, headers, bytes or timing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from .exchange import Exchange, HttpAnswer

_T = TypeVar("_T")


@dataclass(frozen=True)
class RawResponse(Generic[_T]):
    """What `client.with_raw_response.METHOD(...)` gives: the last try's answer as it came, error statuses included."""

    _answer: HttpAnswer = field(repr=False)
    _exchange: Exchange[_T] = field(repr=False)
    _url: str = field(repr=False)

    tries: int
    """How often the request was sent, 1 or more."""

    elapsed: float
    """Seconds from the first try's start to the answer's end, pauses included."""

    @property
    def status(self) -> int:
        """HTTP status, 100 to 599."""
        return self._answer.status

    @property
    def headers(self) -> Mapping[str, str]:
        """HTTP headers; names in any case."""
        return self._answer.headers

    @property
    def content(self) -> bytes:
        """The whole body, decompressed."""
        return self._answer.body

    @property
    def request_id(self) -> str:
        """X-Request-ID, to be looked up in the service's log."""
        return self._answer.request_id

    def parse(self) -> _T:
        """What the method itself returns. Raises StatusError, or UnexpectedResponseError."""
        return self._exchange.read(self._answer, self._url)

    def __repr__(self) -> str:
        return (
            f"RawResponse(status={self.status}, {len(self.content)} bytes, tries={self.tries}, "
            f"elapsed={self.elapsed:.3f}, request_id={self.request_id!r})"
        )
