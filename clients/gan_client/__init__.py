"""Typed client of a Ganworks service.

from gan_client import GanClient

with GanClient() as client:
    images = client.generate(16, label=7, seed=123)
    images.grid().save("sevens.png")
"""

from .client import GanClient
from .errors import (
    ConnectionFailedError,
    DeadlineExceededError,
    GanError,
    InternalServerError,
    InvalidArgumentError,
    InvalidRequestError,
    NotFoundError,
    QueueFullError,
    RequestTooLargeError,
    ServiceDeadlineError,
    StatusError,
    UnauthorizedError,
    UnavailableError,
    UnexpectedResponseError,
)
from .exchange import Health
from .images import Generation, Image
from .types import ModelInfo

__all__ = [
    "ConnectionFailedError",
    "DeadlineExceededError",
    "GanClient",
    "GanError",
    "Generation",
    "Health",
    "Image",
    "InternalServerError",
    "InvalidArgumentError",
    "InvalidRequestError",
    "ModelInfo",
    "NotFoundError",
    "QueueFullError",
    "RequestTooLargeError",
    "ServiceDeadlineError",
    "StatusError",
    "UnauthorizedError",
    "UnavailableError",
    "UnexpectedResponseError",
]
