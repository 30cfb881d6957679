"""Waiting for what must happen, and saying so where it doesn't."""

import subprocess
import time
from collections.abc import Callable
from typing import TypeVar

PATIENCE = 60.0  # seconds
PAUSE = 0.01  # seconds between two looks

Found = TypeVar("Found")


def until(
    condition: Callable[[], Found],
    what: str,
    *,
    seconds: float = PATIENCE,
    process: "subprocess.Popen[bytes] | subprocess.Popen[str] | None" = None,
) -> Found:
    """Look again and again until the condition holds.

    Args:
        condition: what it returns is true when it holds, and is given back.
        what: for the failure, which ends the test after `seconds`.
        seconds: to wait at most.
        process: without which it can't happen any more.
    """
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert process is None or process.poll() is None, f"{what}: did not happen before the process ended"
        assert time.monotonic() < end, f"{what}: did not happen in {seconds:g} s"
        time.sleep(PAUSE)
    return found
