"""The synchronous client."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar

from . import exchange as exchanges
from . import retry
from ._constants import DEFAULT_MAX_RETRIES, DEFAULT_TIMEOUT, DEFAULT_URL, MAX_RETRIES, MAX_TIMEOUT
from .arguments import Label, generate_request, integer, key_text, positive, service_url
from .errors import GanError
from .exchange import Exchange, Health
from .images import Generation
from .types import ModelInfo

if TYPE_CHECKING:
    import httpx
    from numpy.typing import ArrayLike

_T = TypeVar("_T")


class GanClient:
    """Asks a Ganworks service for images.

        with GanClient("http://localhost:3000") as client:
            client.generate(64, label=7).grid().save("sevens.png")

    Close it, or use it as a context manager, to release its connections. Threads may share one.
    """

    def __init__(
        self,
        base_url: str | None = None,
        api_key: str | None = None,
        timeout: float = DEFAULT_TIMEOUT,
        max_retries: int = DEFAULT_MAX_RETRIES,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """
        Args:
            base_url: `http[s]://host[:port][/path]`; else GAN_URL, else http://localhost:3000.
            api_key: sent as `Authorization: Bearer ...`; else GAN_API_KEY, else none.
            timeout: seconds for one call, all its tries and pauses included, 0 < timeout <= 86400.
            max_retries: further tries after a broken connection or status 429, 502, 503 or 504; 0 to 100.
            transport: where httpx sends requests, e.g. `httpx.WSGITransport`; the network by default.

        Raises:
            InvalidArgumentError: a value is out of its range.
        """
        self.base_url = service_url(base_url or os.environ.get("GAN_URL") or DEFAULT_URL)
        """The service's URL, without a slash at its end."""
        self._timeout = positive("timeout", timeout, MAX_TIMEOUT)
        self._max_retries = integer("max_retries", max_retries, 0, MAX_RETRIES)
        headers = {"User-Agent": "gan-client"}
        key = api_key if api_key is not None else os.environ.get("GAN_API_KEY") or None
        if key is not None:
            headers["Authorization"] = f"Bearer {key_text(key)}"
        # httpx takes longer to import than all the rest: `gan-client --help` doesn't wait for it.
        from .transport import HttpTransport

        self._transport = HttpTransport(self.base_url, headers, transport)

    def generate(
        self,
        n: int | None = None,
        label: Label | Iterable[Label] | None = None,
        *,
        seed: int | None = None,
        seeds: Sequence[int] | None = None,
        latents: ArrayLike | None = None,
        truncation: float | None = None,
        model: str | None = None,
    ) -> Generation:
        """Draw images. The same seed, label and generator give the same image, to the byte.

        Args:
            n: number of images, 1 to the service's limit; by default the number of `seeds`, `latents` or
                labels, else 1.
            label: class id (0, 1, ...) or class name for all images, or one for each; drawn from each image's
                seed when None.
            seed: image i has seed + i, 0 <= seed < 2**53; chosen at random here when None, so that a retry
                gives the same images.
            seeds: one seed for each image, instead of `seed`.
            latents: finite numbers (n, latent_dim), instead of seeds.
            truncation: cut normal latents to [-t, t], 0 < t <= 10.
            model: name of the generator; may be left out when the service has exactly one.

        Raises:
            InvalidArgumentError: an argument is out of its range; nothing was sent.
            GanError: any of its kinds; `gan_client.errors` draws the tree.
        """
        request = generate_request(n, label, seed, seeds, latents, truncation, model)
        return self._call(exchanges.generate(request))

    def models(self) -> list[ModelInfo]:
        """The generators that the service has loaded. Raises GanError."""
        return self._call(exchanges.models())

    def health(self) -> Health:
        """Whether the service is ready, asked once. Raises GanError if there is no service to be asked."""
        return self._call(exchanges.health())

    def close(self) -> None:
        """Release the connections; further calls fail."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"GanClient({self.base_url!r})"

    def _call(self, exchange: Exchange[_T]) -> _T:
        deadline = retry.Deadline(self._timeout)
        tries = 0
        while True:
            tries += 1
            try:
                return exchange.read(self._transport.send(exchange, deadline), self.base_url)
            except GanError as error:
                wait = retry.pause(
                    error,
                    tries=tries,
                    max_retries=self._max_retries if exchange.retried else 0,
                    remaining=deadline.remaining,
                    draw=random.random(),
                )
                if wait is None:
                    raise
            time.sleep(wait)
