"""What the service says when it says no. Each class owns its HTTP status.

ServiceError
 +-- InvalidRequestError    400  the request can't be meant; says what is allowed
 +-- UnknownModelError      404  no generator of that name
 +-- BodyTooLargeError      413  before it is read
 +-- QueueFullError         429  with Retry-After from measured throughput
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


class UnknownModelError(ServiceError):
    status, code = 404, "unknown_model"


class BodyTooLargeError(ServiceError):
    status, code = 413, "body_too_large"


class QueueFullError(ServiceError):
    """The queue holds as many images as it may."""

    status, code = 429, "queue_full"

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after  # seconds

    @property
    def headers(self) -> dict[str, str]:
        return {"Retry-After": str(max(1, math.ceil(self.retry_after)))}


class GenerationError(ServiceError):
    status, code = 500, "generation_failed"


class NotReadyError(ServiceError):
    status, code = 503, "not_ready"


class DeadlineError(ServiceError):
    status, code = 504, "deadline"
