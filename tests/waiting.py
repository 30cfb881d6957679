"""Waiting for what must happen, and saying so where it doesn't."""

import contextlib
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import httpx
import pytest

PATIENCE = 60.0  # seconds
PAUSE = 0.01  # seconds between two looks
READY_SECONDS = 90.0

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


def until_ready(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    """Until the service of this process answers that it is ready; where it doesn't, the test fails with its log."""
    end = time.monotonic() + READY_SECONDS
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"{url}/readyz").status_code == 200:
                return
        time.sleep(0.05)
    pytest.fail(f"the service did not become ready:\n{log.read_text()}")
