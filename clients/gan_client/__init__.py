"""Typed client of a Ganworks service.

from gan_client import GanClient

with GanClient() as client:
    images = client.generate(16, label=7, seed=123)
    images.grid().save("sevens.png")

`AsyncGanClient` is the same for asyncio. `gan_client.errors` draws the tree of errors; `gan_client.types` has the
bodies of all requests and responses.
"""

from typing import TYPE_CHECKING

from .aclient import AsyncGanClient
from .answers import Health
from .astream import AsyncImageStream
from .client import GanClient
from .errors import (
    ClientClosedError,
    ConnectionFailedError,
    DeadlineExceededError,
    GanError,
    InternalServerError,
    InvalidArgumentError,
    InvalidRequestError,
    NotFoundError,
    QueueFullError,
    RateLimitedError,
    RequestTooLargeError,
    ServiceDeadlineError,
    StatusError,
    UnauthorizedError,
    UnavailableError,
    UnexpectedResponseError,
)
from .images import Generation, Image
from .raw import RawResponse
from .rendered import Animation, Frames, Latents, Rendered
from .stream import ImageStream
from .types import ModelDetail, ModelInfo

__all__ = [
    "Animation",
    "AsyncGanClient",
    "AsyncImageStream",
    "ClientClosedError",
    "ConnectionFailedError",
    "DeadlineExceededError",
    "Frames",
    "GanClient",
    "GanError",
    "Generation",
    "Health",
    "Image",
    "ImageStream",
    "InternalServerError",
    "InvalidArgumentError",
    "InvalidRequestError",
    "Latents",
    "ModelDetail",
    "ModelInfo",
    "NotFoundError",
    "QueueFullError",
    "RateLimitedError",
    "RawResponse",
    "Rendered",
    "RequestTooLargeError",
    "ServiceDeadlineError",
    "StatusError",
    "UnauthorizedError",
    "UnavailableError",
    "UnexpectedResponseError",
]

if TYPE_CHECKING:
    __version__: str
else:

    def __getattr__(name: str) -> str:
        """`__version__` is looked up when it is asked for: that takes a while."""
        if name == "__version__":
            from ._version import version

            return version()
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
