"""What can go wrong in a call, as exceptions. All of them are `GanError`.

    GanError
    ├── InvalidArgumentError         an argument is wrong, nothing was sent (also a ValueError)
    ├── ConnectionFailedError        no connection to the service, or it broke (also a ConnectionError)
    ├── DeadlineExceededError        `timeout` ran out before the whole answer was there (also a TimeoutError)
    ├── ClientClosedError            the client was closed before the call (also a RuntimeError)
    ├── UnexpectedResponseError      the answer is not the contract: another server, or a cut answer
    └── StatusError                  the service answered with an error status
        ├── InvalidRequestError          400  the service refuses the request
        ├── UnauthorizedError            401  API key missing or wrong
        ├── NotFoundError                404  no such generator
        ├── RequestTooLargeError         413  the request's body is too large
        ├── QueueFullError               429  the queue is full
        │   └── RateLimitedError         429  this caller asks too often, or for too much
        ├── InternalServerError          500  the service failed
        ├── UnavailableError        502, 503  starting, draining, out of connections, or down behind a proxy
        └── ServiceDeadlineError         504  the service's own deadline passed

Broken connections and the statuses 429, 502, 503 and 504 reach the caller only when the retries are used up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

if TYPE_CHECKING:
    from pydantic import ValidationError

_LONGEST_MESSAGE: Final = 600


def one_line(text: str, longest: int = _LONGEST_MESSAGE) -> str:
    """`text` on one line of at most `longest` characters, without control characters.

    Messages and names come from a server that may be anyone: they must not steer the user's terminal.
    """
    line = "".join(char if char.isprintable() else "?" for char in " ".join(text.split()))
    return line if len(line) <= longest else line[: longest - 3] + "..."


def counted(count: int, one: str, many: str) -> str:
    """`1 entry`, `2000 entries`."""
    return f"{count} {one if count == 1 else many}"


def fault(error: ValidationError) -> str:
    """The first fault that pydantic found in a body, as `field: what`."""
    first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    return f"{where}: {first['msg']}" if where else first["msg"]


class GanError(Exception):
    """Base of all errors here. `str()` is one line: what is wrong, what to do, the request id."""

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        code: str | None = None,
        param: str | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        text = one_line(message)
        super().__init__(f"{text} [request id {request_id}]" if request_id else text)
        self.status = status
        """HTTP status of the answer, if there was one."""
        self.code = code
        """The service's stable error code, e.g. `unknown_model`; None if the service didn't say."""
        self.param = param
        """The argument or request field at fault, if there is one."""
        self.request_id = request_id
        """X-Request-ID of the call, to be looked up in the service's log; None if nothing was sent."""
        self.retry_after = retry_after
        """Seconds the service asked to wait before the next try, if it did."""


class InvalidArgumentError(GanError, ValueError):
    """An argument is out of its range; nothing was sent."""


class ConnectionFailedError(GanError, ConnectionError):
    """The service could not be reached, or the connection broke before the answer was complete."""


class DeadlineExceededError(GanError, TimeoutError):
    """The call's `timeout` ran out, all tries and pauses included."""


class ClientClosedError(GanError, RuntimeError):
    """The client was closed before the call, or while it was under way."""

    def __init__(self, message: str = "the client is closed: make a new one") -> None:
        super().__init__(message)


class UnexpectedResponseError(GanError):
    """The answer does not follow the contract: this is not a Ganworks service, or the answer was cut."""


class StatusError(GanError):
    """The service answered with a status of 400 or above."""

    advice: ClassVar[str] = ""
    """What to do, where the service's own message may not say it."""


class InvalidRequestError(StatusError):
    """400: the service refuses the request; its message names the field, the value and the range."""


class UnauthorizedError(StatusError):
    """401: the API key is missing or wrong."""

    advice = "Give the service's API key with api_key=, --api-key or GAN_API_KEY."


class NotFoundError(StatusError):
    """404: the service has no such generator."""

    advice = "`gan-client models` lists the generators."


class RequestTooLargeError(StatusError):
    """413: the request's body is larger than the service accepts."""

    advice = "Ask for fewer latents, seeds or labels in one call."


class QueueFullError(StatusError):
    """429: the service's queue is full."""

    advice = "Ask again later, or for fewer images in one call."


class RateLimitedError(QueueFullError):
    """429: this caller had its share of requests or images, others are served.

    It is a QueueFullError, so that code that handles every 429 alike has one name to catch.
    """

    advice = "Ask less often, or for fewer images at once."


class InternalServerError(StatusError):
    """500: the service failed."""

    advice = "The service's log has the reason under the request id."


class UnavailableError(StatusError):
    """502 or 503: the service is starting, draining, out of room for connections or bodies, or down behind a
    proxy."""

    advice = "Ask again later; `gan-client health` says when it is ready."


class ServiceDeadlineError(StatusError):
    """504: the service's own deadline passed before the images were ready."""

    advice = "Ask for fewer images in one call, or again when the service is less busy."


_BY_STATUS: Final[dict[int, type[StatusError]]] = {
    400: InvalidRequestError,
    401: UnauthorizedError,
    404: NotFoundError,
    413: RequestTooLargeError,
    429: QueueFullError,
    500: InternalServerError,
    502: UnavailableError,
    503: UnavailableError,
    504: ServiceDeadlineError,
}
_BY_CODE: Final[dict[str, type[StatusError]]] = {"rate_limited": RateLimitedError}

MORE_IMAGES: Final = "Use client.stream() or `gan-client dataset` for more, or raise the service's GAN_MAX_N."
_ADVICE: Final = {
    "not_found": "",  # a path of the URL, not a generator
    "too_many_connections": "Open fewer connections at once.",
    "too_many_bodies": "Send smaller requests, or fewer at once.",
}


def _advice(kind: type[StatusError], code: str | None, param: str | None) -> str:
    # A client's own checks leave one thing that can be wrong with n: the service's limit.
    if kind is InvalidRequestError and param == "n":
        return MORE_IMAGES
    return _ADVICE.get(code or "", kind.advice)


def status_error(
    status: int,
    message: str,
    *,
    code: str | None,
    param: str | None,
    request_id: str,
    retry_after: float | None,
) -> StatusError:
    """The exception for an error status: `message`, then what to do."""
    kind = _BY_CODE.get(code or "") or _BY_STATUS.get(status, StatusError)
    advice = _advice(kind, code, param)
    sentence = message if message.endswith((".", "!", "?")) else f"{message}."
    return kind(
        f"{sentence} {advice}" if advice else message,
        status=status,
        code=code,
        param=param,
        request_id=request_id,
        retry_after=retry_after,
    )
