"""Typed client of a Ganworks service.

from gan_client import GanClient

with GanClient() as client:
    images = client.generate(16, label=7, seed=123)
    images.grid().save("sevens.png")

`AsyncGanClient` is the same for asyncio. `gan_client.errors` draws the tree of errors; `gan_client.types` has the
bodies of all requests and responses.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
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
    _HOMES = ("errors", "client", "aclient", "answers", "images", "raw", "rendered", "stream", "astream", "types")

    def __getattr__(name: str) -> object:
        """Looked up when it is asked for: that takes a while, in which `gan-client` couldn't tell Ctrl-C in a line."""
        from importlib import import_module

        if name == "__version__":
            return import_module("._version", __name__).version()
        if name in _HOMES:
            return import_module(f".{name}", __name__)
        if name in __all__:
            for home in _HOMES:
                if (found := vars(import_module(f".{home}", __name__)).get(name)) is not None:
                    globals()[name] = found
                    return found
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__() -> list[str]:
        return sorted({*globals(), *_HOMES, *__all__, "__version__"})
