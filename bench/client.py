"""What the client costs: its calls against the bare HTTP calls of the same bytes, one after the other.

    python bench/client.py                     # about a minute
    python bench/client.py --help              # with examples

The real service runs on the same machine and keeps its answers in a cache, so that its own work doesn't blur the
difference. A pair is one bare call and one of ours, in turns first; the tables have medians over pairs. The bare call
is httpx's with a kept connection. CPU is what the calling process used, which other programs on the machine blur less.
A stream is compared with the same requests sent one after the other, and with one `ndjson` request; the service draws
those anew.
"""

import argparse
import asyncio
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from report.client import tables
from report.results import processor
from report.serving import OURS
from serving import make_artifact, running

from gan_client import AsyncGanClient, GanClient

EPILOG = """examples:
  python bench/client.py --quick                          is it in the right region?
  python bench/client.py --artifact models/digits --pairs 1000 --json > client.json
"""
N, LABEL = 64, 7
ASKED = {"n": N, "seed": 0, "label": LABEL}
STREAMED, CHUNK = 4096, 256


def main() -> None:
    arguments = parse()
    with tempfile.TemporaryDirectory() as folder:
        artifact = arguments.artifact.resolve() if arguments.artifact else make_artifact(Path(folder))
        with running(OURS, artifact, Path(folder), GAN_CACHE_MIB="16") as (port, _, _):
            found = measure(f"http://127.0.0.1:{port}", arguments.pairs, arguments.rounds)
    print(json.dumps(found, indent=2) if arguments.json else f"{found['machine']}\n\n{tables(found)}")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--artifact", type=Path, help="a conditional artifact; default: one is trained, 28x28")
    parser.add_argument("--pairs", type=int, default=400, help="of calls (default 400)")
    parser.add_argument("--rounds", type=int, default=5, help="of streams (default 5)")
    parser.add_argument("--quick", action="store_true", help="50 pairs, one round")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.pairs, arguments.rounds = 50, 1
    return arguments


def measure(url: str, pairs: int, rounds: int) -> dict[str, object]:
    """Milliseconds of every call, bare and ours, and images/s of streams."""
    with GanClient(url) as client, httpx.Client(base_url=url, timeout=60) as bare:
        calls = {
            "generate(64)": (zip_of(bare), lambda: client.generate(N, LABEL, seed=0)),
            "generate(64).arrays": (zip_of(bare), lambda: client.generate(N, LABEL, seed=0).arrays),
            "render(64, format='npy')": (
                lambda: bare.post("/generate", json={**ASKED, "format": "npy"}).content,
                lambda: client.render(N, LABEL, seed=0, format="npy"),
            ),
        }
        seconds = {name: in_pairs(first, second, pairs) for name, (first, second) in calls.items()}
        streams: dict[str, list[float]] = {}
        draws: dict[str, Callable[[int], object]] = {
            "stream(4096)": lambda seed: [image.png for image in client.stream(STREAMED, LABEL, seed=seed)],
            "the same requests, bare": lambda seed: chunks(bare, seed),
            "one ndjson request, bare": lambda seed: lines(bare, seed),
        }
        for turn in range(rounds):
            for name, draw in draws.items():
                began = time.perf_counter()
                draw(STREAMED * (turn + 1))
                streams.setdefault(name, []).append(STREAMED / (time.perf_counter() - began))
    seconds["await generate(64)"] = asyncio.run(awaited(url, pairs))
    return {
        "machine": f"{os.cpu_count()} cores of {processor()}, Python {platform.python_version()}, "
        f"httpx {httpx.__version__}",
        "pairs": pairs,
        "calls": {name: summary(times) for name, times in seconds.items()},
        "streamed": STREAMED,
        "streams": {
            name: {"median": statistics.median(rates), "least": min(rates), "most": max(rates)}
            for name, rates in streams.items()
        },
    }


def zip_of(bare: httpx.Client) -> Callable[[], bytes]:
    """The bare call: N images as a ZIP, not unpacked."""
    return lambda: bare.post("/generate", json={**ASKED, "format": "zip"}).content


def in_pairs(bare: Callable[[], object], ours: Callable[[], object], pairs: int) -> dict[str, list[float]]:
    """Seconds of so many calls of both, in turns, after ten of each that do not count."""
    for _ in range(10):
        bare(), ours()
    times = Times()
    for turn in range(pairs):
        for name, call in (("bare", bare), ("ours", ours))[:: 1 if turn % 2 else -1]:
            with times.taken(name):
                call()
    return times.seconds


class Times:
    """Seconds of each call, by the clock and of this process's CPU."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = {"bare": [], "ours": [], "bare CPU": [], "ours CPU": []}

    @contextmanager
    def taken(self, name: str) -> Iterator[None]:
        """Adds what the block took to the times of `name` ("bare" or "ours")."""
        began, worked = time.perf_counter(), time.process_time()
        yield
        self.seconds[f"{name} CPU"].append(time.process_time() - worked)
        self.seconds[name].append(time.perf_counter() - began)


async def awaited(url: str, pairs: int) -> dict[str, list[float]]:
    """The same of the asynchronous client: one call after the other, each awaited."""
    async with AsyncGanClient(url) as client, httpx.AsyncClient(base_url=url, timeout=60) as bare:

        async def bare_call() -> bytes:
            return (await bare.post("/generate", json={**ASKED, "format": "zip"})).content

        async def our_call() -> object:
            return await client.generate(N, LABEL, seed=0)

        calls: dict[str, Callable[[], Awaitable[object]]] = {"bare": bare_call, "ours": our_call}
        for call in list(calls.values()) * 10:
            await call()
        times = Times()
        for turn in range(pairs):
            for name in list(calls)[:: 1 if turn % 2 else -1]:
                with times.taken(name):
                    await calls[name]()
    return times.seconds


def chunks(bare: httpx.Client, seed: int) -> None:
    """The requests of a stream without the stream."""
    for first in range(seed, seed + STREAMED, CHUNK):
        body = {"n": CHUNK, "seed": first, "label": LABEL, "format": "zip"}
        bare.post("/generate", json=body).raise_for_status()


def lines(bare: httpx.Client, seed: int) -> None:
    """All images in one response."""
    body = {"n": STREAMED, "seed": seed, "label": LABEL, "format": "ndjson"}
    with bare.stream("POST", "/generate", json=body) as response:
        count = sum(1 for line in response.iter_lines() if json.loads(line)["type"] == "image")
    if count != STREAMED:
        sys.exit(f"bench/client.py: the service sent {count} images of {STREAMED}")


def summary(times: dict[str, list[float]]) -> dict[str, float]:
    """Of one call, in milliseconds: medians over the pairs, and the ends of what nine tenths of the differences are."""
    more, more_cpu = (differences(times, *kinds) for kinds in (("ours", "bare"), ("ours CPU", "bare CPU")))
    medians = {kind.lower().replace(" ", "_"): 1e3 * statistics.median(each) for kind, each in times.items()}
    low, high = (more[round(share * (len(more) - 1))] for share in (0.05, 0.95))
    return {
        **medians,
        "more": statistics.median(more),
        "more_5": low,
        "more_95": high,
        "more_cpu": statistics.median(more_cpu),
    }


def differences(times: dict[str, list[float]], one: str, other: str) -> list[float]:
    """Milliseconds, pair by pair, in order of size."""
    return sorted(1e3 * (a - b) for a, b in zip(times[one], times[other], strict=True))


if __name__ == "__main__":
    main()
