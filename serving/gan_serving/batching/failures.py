"""Why images could not be generated, in the service's log."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final

logger = logging.getLogger("bentoml.ganworks")

QUIET_SECONDS: Final = 1.0
"""After a failure was logged, those of this time are only counted: a session that is broken fails with every image."""


class FailureLog:
    """Logs the failures of one generator with their traceback, which no caller is shown.

    Args:
        name: of the generator.
        clock: seconds, never backwards.
    """

    def __init__(self, name: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._name = name
        self._clock = clock
        self._quiet_until = -float("inf")
        self._untold = 0

    def tell(self, error: BaseException, what: str = "an image could not be generated") -> None:
        """Something failed with `error`: as a rule an image, when it was alone."""
        now = self._clock()
        if now < self._quiet_until:
            self._untold += 1
            return
        self._quiet_until = now + QUIET_SECONDS
        others = f" (nor {self._untold} others since the last such line)" if self._untold else ""
        self._untold = 0
        logger.error("generator %s: %s%s", self._name, what, others, exc_info=error)
