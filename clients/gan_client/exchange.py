"""Each call of the service as data: what is sent, and how its answer is read. No I/O here.

A sync and an async client differ in how bytes travel and in how they wait; both run these same exchanges.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Final, Generic, TypeVar

from pydantic import ValidationError

from .archive import MalformedAnswerError, read_archive
from .arguments import expected_seeds
from .errors import StatusError, UnexpectedResponseError, fault, one_line, status_error
from .images import Generation, Image
from .retry import parse_retry_after
from .types import ErrorBody, GenerateRequest, ModelInfo, ModelList

_T = TypeVar("_T")

REQUEST_ID: Final = "X-Request-ID"

# Statuses that a proxy before the service answers in its own words; any other needs the service's error body.
_PROXY_STATUSES: Final = frozenset({401, 403, 413, 429, 500, 502, 503, 504})


@dataclass(frozen=True)
class Answer:
    """A complete HTTP answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    request_id: str
    """The id under which the service's log has the call."""

    @property
    def kind(self) -> str:
        """Status and content type, for messages, e.g. `200 text/html`."""
        content_type = self.headers.get("content-type", "").partition(";")[0].strip()
        return f"{self.status} {content_type}".strip()


@dataclass(frozen=True)
class Health:
    """What `GET /readyz` said; true if the service is ready."""

    ready: bool
    """Whether the service accepts requests."""

    status: int
    """The HTTP status: 200 or 503."""

    def __bool__(self) -> bool:
        return self.ready


@dataclass(frozen=True)
class Exchange(Generic[_T]):
    """One call: the same request id and body for all its tries."""

    method: str
    path: str
    read_success: Callable[[Answer], _T]
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

    def answer(self, status: int, headers: Mapping[str, str], body: bytes) -> Answer:
        """The answer to this call; a request id that a proxy replaced is the one to look up."""
        echoed = headers.get(REQUEST_ID, "")
        request_id = echoed if re.fullmatch(r"[!-~]{1,128}", echoed) else self.request_id
        return Answer(status, headers, body, request_id)

    def read(self, answer: Answer, url: str) -> _T:
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


def generate(request: GenerateRequest) -> Exchange[Generation]:
    """`POST /generate`; `request.format` must be `zip`."""

    def read(answer: Answer) -> Generation:
        if not answer.body.startswith(b"PK"):
            raise MalformedAnswerError(f"{answer.kind} where a zip archive was due")
        index, pngs = read_archive(answer.body)
        seeds, due = [image.seed for image in index.images], expected_seeds(request)
        if len(seeds) != len(due):
            raise MalformedAnswerError(f"an archive of {len(seeds)} images where {len(due)} were due")
        if seeds != due:
            raise MalformedAnswerError("an archive with images of other seeds than were asked for")
        images = [
            Image(png, entry.seed, entry.label, entry.label_name) for png, entry in zip(pngs, index.images, strict=True)
        ]
        return Generation(images, model=index.model, request_id=answer.request_id)

    return Exchange("POST", "/generate", read, body=request.model_dump_json(exclude_none=True).encode())


def models() -> Exchange[list[ModelInfo]]:
    """`GET /models`."""

    def read(answer: Answer) -> list[ModelInfo]:
        try:
            return ModelList.model_validate_json(answer.body).models
        except ValidationError as error:
            raise MalformedAnswerError(f"{answer.kind} where a list of models was due ({fault(error)})") from error

    return Exchange("GET", "/models", read)


def health() -> Exchange[Health]:
    """`GET /readyz`: one try, since the question is about now."""

    def read(answer: Answer) -> Health:
        if answer.status == HTTPStatus.OK and "html" in answer.kind:
            raise MalformedAnswerError(f"{answer.kind} where readiness was due")
        return Health(ready=answer.status == HTTPStatus.OK, status=answer.status)

    return Exchange("GET", "/readyz", read, successes=frozenset({200, 503}), retried=False)


def _read_error(answer: Answer, url: str) -> StatusError:
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
    return status_error(
        answer.status,
        body.error.message,
        code=body.error.code,
        param=body.error.param,
        request_id=answer.request_id,
        retry_after=retry_after,
    )
