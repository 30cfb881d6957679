"""How many requests and images one caller may ask for in a second: a token bucket for each API key or address."""

from __future__ import annotations

import ipaddress
import math
import time
from collections import OrderedDict
from collections.abc import Callable
from functools import lru_cache
from typing import Final

from starlette.types import Scope

from gan_serving.errors import RateLimitedError
from gan_serving.messages import counted
from gan_serving.settings import Settings

from .api_keys import CALLER_SCOPE_KEY

MAX_BUCKETS: Final = 10_000
"""Callers that are remembered; of a caller that is forgotten, no more is known than that it may begin again."""
_LOOKS: Final = 8  # buckets that are looked at for a full one, before the oldest goes whether full or not
_ROUNDING: Final = 1e-3  # tokens
_LONGEST: Final = 2.0**31 - 1  # seconds, in which a rate near 0 would never give a token; Retry-After is a whole number
_MAX_NAME: Final = 64  # characters
_IPV6_NETWORK: Final = 64  # bits that one household or machine gets; its addresses count as one


class _Buckets:
    """Buckets of one size. Each is a level and when that was; it fills as time passes, and is full unless kept."""

    def __init__(self, rate: float, size: float, clock: Callable[[], float]) -> None:
        self.rate = rate  # tokens per second
        self.size = size  # tokens
        self._clock = clock
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()  # the longest unused first

    def __len__(self) -> int:
        return len(self._levels)

    def take(self, name: str, tokens: float, least: float) -> float:
        """Take tokens if the bucket has at least `least`, which may be fewer: it is in debt then.

        Returns:
            0, or the seconds until there are `least`, and nothing was taken.
        """
        now = self._clock()
        level = self._level(name, now)
        if level < least - _ROUNDING:
            return min((least - level) / self.rate, _LONGEST)
        self._levels[name] = (level - tokens, now)
        self._levels.move_to_end(name)
        if len(self._levels) > MAX_BUCKETS:
            self._drop(now)
        return 0.0

    def _level(self, name: str, now: float) -> float:
        level, when = self._levels.get(name, (self.size, now))
        return min(self.size, level + (now - when) * self.rate)

    def _drop(self, now: float) -> None:
        oldest = []
        for name in self._levels:
            oldest.append(name)
            if len(oldest) == _LOOKS:
                break
        full = [name for name in oldest if self._level(name, now) >= self.size]
        for name in full or oldest[:1]:
            del self._levels[name]


class RateLimiter:
    """The limits of one worker. A limit of 0 is none."""

    def __init__(self, requests: float, burst: int, images: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Set the limits.

        Args:
            requests: per second and caller.
            burst: requests that may come at once.
            images: per second and caller.
            clock: seconds, never backwards.
        """
        self._requests = _Buckets(requests, max(1, burst), clock) if requests else None
        self._images = _Buckets(images, max(1.0, images), clock) if images else None

    @classmethod
    def from_settings(cls, settings: Settings, clock: Callable[[], float] = time.monotonic) -> RateLimiter:
        """The limits that the environment names."""
        return cls(settings.rate_limit, settings.rate_burst, settings.rate_images, clock)

    @property
    def enabled(self) -> bool:
        """Whether there is any limit."""
        return self._requests is not None or self._images is not None

    def __len__(self) -> int:
        """Buckets in memory."""
        return len(self._requests or ()) + len(self._images or ())

    def admit(self, name: str) -> None:
        """Count a request, before its body is read.

        Raises:
            RateLimitedError: with the seconds until the next one may come.
        """
        if self._requests is not None:
            wait = self._requests.take(name, 1, 1)
            if wait:
                limit = counted(self._requests.rate, "request", "requests")
                raise RateLimitedError(f"more than {limit} per second; come again in {_seconds(wait)} s", wait)

    def charge(self, name: str, images: int) -> None:
        """Count a request's images, before they are queued.

        A request of any size passes while the caller owes nothing, and is paid for by waiting afterwards: the mean rate
        holds, and no request is too large for ever.

        Raises:
            RateLimitedError: with the seconds until the debt is paid.
        """
        if self._images is not None:
            wait = self._images.take(name, images, min(1.0, images))
            if wait:
                limit = counted(self._images.rate, "image", "images")
                raise RateLimitedError(f"more than {limit} per second; come again in {_seconds(wait)} s", wait)


def caller_of(scope: Scope) -> str:
    """Whose bucket a request is charged to: its API key's name, else its client's address (for IPv6, the /64)."""
    name = scope.get(CALLER_SCOPE_KEY)
    if name:
        return f"key {name}"
    client = scope.get("client")
    return _network(client[0][:_MAX_NAME]) if client else ""


@lru_cache(1024)
def _network(address: str) -> str:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address  # a Unix socket, or what a trusted proxy says
    if parsed.version == 4:
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((int(parsed) >> _IPV6_NETWORK << _IPV6_NETWORK, _IPV6_NETWORK)))


def _seconds(wait: float) -> int:
    return max(1, math.ceil(wait))
