"""What the service says when it says no. Each class owns its HTTP status.

ServiceError
 +-- InvalidRequestError    400  the request can't be meant; says what is allowed
 +-- UnauthorizedError      401  no API key, or not one of this service's
 +-- UnknownModelError      404  no generator of that name
 +-- RequestTimeoutError    408  the body did not come in time; the connection is closed
 +-- NotLoadableError       409  the artifact of that name can't be served; says why
 +-- BodyTooLargeError      413  before it is read
 +-- RetryLaterError        429  with Retry-After
 |    +-- QueueFullError           from measured throughput
 |    +-- RateLimitedError         from the caller's own bucket
 |    +-- TooManyConnectionsError  503
 +-- HeadersTooLargeError   431  before they are complete
 +-- CallerLeftError        499  nobody reads the answer; for logs and metrics
 +-- GenerationError        500  the generator failed on this image, alone
 +-- NotReadyError          503  draining, or nothing loaded
 +-- DeadlineError          504  the time for this request is over
"""

from __future__ import annotations

import math
from typing import ClassVar


class ServiceError(Exception):
    """Becomes `{"error": {"code", "message", "param"}, "request_id"}` with the class's status."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal"

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param

    @property
    def headers(self) -> dict[str, str]:
        """Further response headers."""
        return {}


class InvalidRequestError(ServiceError):
    status, code = 400, "invalid_request"


class UnauthorizedError(ServiceError):
    status, code = 401, "unauthorized"

    @property
    def headers(self) -> dict[str, str]:
        return {"WWW-Authenticate": "Bearer"}


class UnknownModelError(ServiceError):
    status, code = 404, "unknown_model"


class RequestTimeoutError(ServiceError):
    status, code = 408, "body_timeout"

    @property
    def headers(self) -> dict[str, str]:
        return {"Connection": "close"}  # the rest of the body would be taken for the next request


class NotLoadableError(ServiceError):
    """The folders hold the artifact, but it is damaged, foreign or not certified; the message says which."""

    status, code = 409, "not_loadable"


class BodyTooLargeError(ServiceError):
    status, code = 413, "body_too_large"


class RetryLaterError(ServiceError):
    """Nothing is wrong with the request; says when it may come again."""

    status, code = 429, "retry_later"

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after  # seconds

    @property
    def headers(self) -> dict[str, str]:
        return {"Retry-After": str(max(1, math.ceil(self.retry_after)))}


class QueueFullError(RetryLaterError):
    """The queue holds as many images as it may."""

    code = "queue_full"


class RateLimitedError(RetryLaterError):
    """This caller had its share; others are served."""

    code = "rate_limited"


class TooManyConnectionsError(RetryLaterError):
    """Said before anything is read: GAN_MAX_CONNECTIONS are open in this worker."""

    status, code = 503, "too_many_connections"


class HeadersTooLargeError(ServiceError):
    status, code = 431, "headers_too_large"

    @property
    def headers(self) -> dict[str, str]:
        return {"Connection": "close"}


class CallerLeftError(ServiceError):
    """Raised to stop the work; no response is sent, so the status is for the log and the metrics alone."""

    status, code = 499, "caller_left"


class GenerationError(ServiceError):
    status, code = 500, "generation_failed"


class NotReadyError(ServiceError):
    status, code = 503, "not_ready"


class DeadlineError(ServiceError):
    status, code = 504, "deadline"
