"""More load than a service can take: what comes back, how much of it is good, and how soon it is well again."""

import json
import time
import urllib.request
from dataclasses import dataclass

from open_loop import open_loop

WELL_SECONDS = 0.1  # a single image that takes no longer says that the service is well


@dataclass
class Overload:
    """What was asked and what came back."""

    offered: float  # images per second
    good: float  # images per second of answers with status 200
    statuses: dict[int, int]
    lost: int  # connections that broke
    recovery: float  # seconds after the last request until a single image came quickly


def overload(port: int, n: int, rate: float, seconds: float) -> Overload:
    """Ask for n images `rate` times a second, whatever comes back.

    Args:
        port: of 127.0.0.1.
        n: images in a request. The fewer, the more of the cores go to refusing the rest, and to this load.
        rate: requests per second.
        seconds: how long.
    """
    body = json.dumps({"n": n, "seed": 0, "label": 7, "format": "npy"}).encode()
    began = time.perf_counter()
    outcome = open_loop(port, body, rate, seconds, connections=4096)
    took = time.perf_counter() - began  # the last answers included
    return Overload(n * rate, n * outcome.statuses.get(200, 0) / took, outcome.statuses, outcome.lost, recovery(port))


def recovery(port: int) -> float:
    """Seconds from now until a single image comes quickly."""
    began = time.perf_counter()
    while True:
        asked = time.perf_counter()
        body = json.dumps({"seed": 5, "label": 7, "format": "png"}).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/generate", body, {"content-type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as response:
            response.read()
        if time.perf_counter() - asked <= WELL_SECONDS:
            return time.perf_counter() - began
