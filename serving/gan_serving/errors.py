"""What the service says when it says no. Each class owns its HTTP status.

ServiceError
 +-- InvalidRequestError    400  the request can't be meant; says what is allowed
 +-- UnauthorizedError      401  no API key, or not one of this service's
 +-- ForeignPageError       403  a web page of another origin sent it
 +-- UnknownModelError      404  no generator of that name
 +-- RequestTimeoutError    408  the body did not come in time; the connection is closed
 +-- NotLoadableError       409  the artifact of that name can't be served; says why
 +-- BodyTooLargeError      413  before it is read
 +-- RetryLaterError        429  with Retry-After
 |    +-- QueueFullError           from measured throughput
 |    +-- RateLimitedError         from the caller's own bucket
 |    +-- TooManyConnectionsError  503
 |    +-- TooManyBodiesError       503
 +-- HeadersTooLargeError   431  before they are complete
 +-- CallerLeftError        499  nobody reads the answer; for logs and metrics
 +-- GenerationError        500  the generator failed on this image, alone
 +-- NotReadyError          503  draining, or nothing loaded
 +-- DeadlineError          504  the time for this request is over
"""

from __future__ import annotations

import math
from typing import ClassVar

from gan_client.types import ErrorDetail


class SettingsError(ValueError):
    """A GAN_* variable with an impossible value, of which no request is told; the message is one line."""


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

    def detail(self) -> ErrorDetail:
        """What the body says of it."""
        return ErrorDetail(code=self.code, message=self.message, param=self.param)


class InvalidRequestError(ServiceError):
    """The request can't be what the caller wants; the message says which value, and what is allowed."""

    status, code = 400, "invalid_request"


class UnauthorizedError(ServiceError):
    """No API key came, or one that is not this service's."""

    status, code = 401, "unauthorized"

    @property
    def headers(self) -> dict[str, str]:
        return {"WWW-Authenticate": "Bearer"}


class ForeignPageError(ServiceError):
    """A web page sent it whose origin is neither the service's own nor listed in GAN_CORS_ORIGINS."""

    status, code = 403, "foreign_page"


class UnknownModelError(ServiceError):
    """No generator of that name is served."""

    status, code = 404, "unknown_model"


class RequestTimeoutError(ServiceError):
    """The body did not come within GAN_BODY_TIMEOUT."""

    status, code = 408, "body_timeout"

    @property
    def headers(self) -> dict[str, str]:
        return {"Connection": "close"}  # the rest of the body would be taken for the next request


class NotLoadableError(ServiceError):
    """The folders hold the artifact, but it is damaged, foreign or not certified; the message says which."""

    status, code = 409, "not_loadable"


class BodyTooLargeError(ServiceError):
    """The body is larger than GAN_MAX_BODY."""

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
    """GAN_MAX_CONNECTIONS are open in this worker, and it is not a probe that asks."""

    status, code = 503, "too_many_connections"


class TooManyBodiesError(RetryLaterError):
    """The long bodies of other requests take the GAN_MAX_BODIES bytes that this worker has for them."""

    status, code = 503, "too_many_bodies"


class HeadersTooLargeError(ServiceError):
    """The request's head is larger than GAN_MAX_HEADER."""

    status, code = 431, "headers_too_large"

    @property
    def headers(self) -> dict[str, str]:
        return {"Connection": "close"}


class CallerLeftError(ServiceError):
    """Raised to stop the work; no response is sent, so the status is for the log and the metrics alone."""

    status, code = 499, "caller_left"


class GenerationError(ServiceError):
    """The generator failed on this request's images; the log has the reason."""

    status, code = 500, "generation_failed"


class NotReadyError(ServiceError):
    """No generator is loaded, or the service is about to stop."""

    status, code = 503, "not_ready"


class DeadlineError(ServiceError):
    """The images were not ready by the caller's deadline, or within GAN_TIMEOUT."""

    status, code = 504, "deadline"
