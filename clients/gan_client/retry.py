"""When to try again, and after how long. Images are a pure function of the request, so calls can repeat."""

from __future__ import annotations

import re
import threading
import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeAlias

from ._constants import BACKOFF_MAX, BACKOFF_MIN, RETRIED_STATUSES, RETRY_AFTER_JITTER
from .errors import ConnectionFailedError, GanError


class Deadline:
    """One deadline over all tries of a call."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        """The whole time of the call."""
        self._end = time.monotonic() + seconds

    @property
    def remaining(self) -> float:
        """Seconds left; 0 when the time is over."""
        return max(0.0, self._end - time.monotonic())


Stop: TypeAlias = threading.Event
"""Set when nobody wants the answer any more."""


class StoppedError(Exception):
    """The call was given up because nobody wants its answer any more."""


def is_retryable(error: GanError) -> bool:
    """Whether the same request may well succeed on another try."""
    return isinstance(error, ConnectionFailedError) or error.status in RETRIED_STATUSES


def backoff(tries: int, draw: float) -> float:
    """Seconds to wait after `tries` failed tries (1, 2, ...), 0.5 to 8; `draw` is uniform on [0, 1).

    The upper end doubles with every try and the wait is drawn from the whole interval, so that clients which
    failed together don't come back together.
    """
    longest = min(BACKOFF_MAX, BACKOFF_MIN * 2.0 ** min(tries, 10))
    return BACKOFF_MIN + draw * (longest - BACKOFF_MIN)


def pause(error: GanError, *, tries: int, max_retries: int, remaining: float, draw: float) -> float | None:
    """Seconds to wait before the next try, or None if `error` is final.

    Final are: an error that another try won't cure; the last of `1 + max_retries` tries; a wait that would
    outlast the `remaining` seconds of the call. The service's Retry-After takes the place of the backoff; one of 0,
    or in the past, says nothing of how long.
    """
    if tries > max_retries or not is_retryable(error):
        return None
    wait = backoff(tries, draw)
    if error.retry_after:
        wait = error.retry_after * (1 + RETRY_AFTER_JITTER * draw)
    return wait if wait < remaining else None


def parse_retry_after(value: str | None, now: datetime) -> float | None:
    """Seconds from a Retry-After header (RFC 9110, 10.2.3: seconds or an HTTP date); None if not readable."""
    if value is None:
        return None
    if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", value.strip()):
        return float(value)
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, OverflowError):  # a year of twenty digits
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - now).total_seconds())
