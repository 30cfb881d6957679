"""One call of the service as data: what is sent, and how its answer is read. No I/O here.

The synchronous and the asynchronous client differ in how bytes travel and in how they wait; both run these same
exchanges, which `calls` defines.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Final, Generic, TypeVar
from urllib.parse import urlsplit

from pydantic import ValidationError

from ._constants import RETRIED_STATUSES
from .archive import MalformedAnswerError
from .errors import StatusError, UnexpectedResponseError, one_line, status_error
from .retry import parse_retry_after
from .types import ErrorBody

_T = TypeVar("_T")

REQUEST_ID: Final = "X-Request-ID"

# Statuses that a proxy before the service answers in its own words; any other needs the service's error body.
_PROXY_STATUSES: Final = frozenset({401, 403, 413, 429, 500, 502, 503, 504})

# What a Ganworks service answers to a path that it doesn't have.
_NO_SUCH_PATH: Final = frozenset({"not_found", "method_not_allowed"})


@dataclass(frozen=True)
class HttpAnswer:
    """A complete HTTP answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    request_id: str
    """The id under which the service's log has the call."""

    @property
    def kind(self) -> str:
        """Status and content type, for messages, e.g. `200 text/html`."""
        return f"{self.status} {self.media_type}".strip()

    @property
    def media_type(self) -> str:
        """The content type without its parameters, in lower case."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()


@dataclass(frozen=True)
class Exchange(Generic[_T]):
    """One call: the same request id and body for all its tries."""

    method: str
    path: str
    read_success: Callable[[HttpAnswer], _T]
    """Makes the result from an answer with a status in `successes`."""

    body: bytes | None = None
    successes: frozenset[int] = frozenset({200})
    retried: bool = True
    request_id: str = field(default_factory=lambda: uuid.uuid4().hex)

    @property
    def headers(self) -> dict[str, str]:
        """Headers of this call, beside those of every call."""
        headers = {REQUEST_ID: self.request_id}
        if self.body is not None:
            headers["Content-Type"] = "application/json"
        return headers

    def answer(self, status: int, headers: Mapping[str, str], body: bytes) -> HttpAnswer:
        """The answer to this call; a request id that a proxy replaced is the one to look up."""
        echoed = headers.get(REQUEST_ID, "")
        request_id = echoed if re.fullmatch(r"[!-~]{1,128}", echoed) else self.request_id
        return HttpAnswer(status, headers, body, request_id)

    def passing_failure(self, answer: HttpAnswer, url: str) -> StatusError | None:
        """The error that another try may cure, if the answer is one."""
        if answer.status in self.successes or answer.status not in RETRIED_STATUSES:
            return None
        try:
            return _read_error(answer, url)
        except MalformedAnswerError:
            return None

    def read(self, answer: HttpAnswer, url: str) -> _T:
        """The result. Raises StatusError, or UnexpectedResponseError if the answer is not the contract."""
        try:
            if answer.status in self.successes:
                return self.read_success(answer)
            error = _read_error(answer, url)
        except MalformedAnswerError as reason:
            raise UnexpectedResponseError(
                f"{url}{self.path} answered {reason}: this does not look like a Ganworks service; "
                "check the URL (base_url=, --url or GAN_URL)",
                status=answer.status,
                request_id=answer.request_id,
            ) from reason
        raise error


def _read_error(answer: HttpAnswer, url: str) -> StatusError:
    retry_after = parse_retry_after(answer.headers.get("retry-after"), datetime.now(UTC))
    try:
        body = ErrorBody.model_validate_json(answer.body)
    except ValidationError as error:
        if answer.status not in _PROXY_STATUSES:
            location = one_line(answer.headers.get("location", ""), 200)
            raise MalformedAnswerError(f"{answer.kind}{f', a redirect to {location},' if location else ''}") from error
        phrase = HTTPStatus(answer.status).phrase
        return status_error(
            answer.status,
            f"{url} answered {answer.status} {phrase}",
            code=None,
            param=None,
            request_id=answer.request_id,
            retry_after=retry_after,
        )
    message, path = body.error.message, urlsplit(url).path
    if path and body.error.code in _NO_SUCH_PATH:
        message = f"{message}: the URL of the service is given as {url}, leave its path {path} out"
    return status_error(
        answer.status,
        message,
        code=body.error.code,
        param=body.error.param,
        request_id=answer.request_id,
        retry_after=retry_after,
    )
