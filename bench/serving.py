"""How fast is the service: ours against stock BentoML, LitServe, bare Starlette, and the limit without any server.

    python bench/serving.py                    # about 8 minutes on two cores
    python bench/serving.py --help             # with examples

All serve the same artifact (28x28, conditional) on the same cores, and the load comes from the same cores too. Servers
are started one at a time and take turns, round after round; each round gives one ratio, and the tables have medians
with the smallest and largest. Closed loops (so many connections, each asking again when answered) are driven by wrk.
The open loop (open_loop.py) asks at a fixed rate and counts latency from when a request was due. Bursts (burst.py) are
many new connections at once, while others keep the server busy. In the open loop stands, beside ours, a server that
does nothing but be busy for as long as an image takes of ours: its p99 is what the machine and the load alone make.
"""

import argparse
import json
import os
import platform
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import psutil
from burst import bursts
from open_loop import open_loop
from overload import overload
from report.results import processor
from report.serving import BARE, FLOOR, OURS, OURS_EVERYWHERE, SHARE, tables

BENCH = Path(__file__).resolve().parent
ROOT = BENCH.parent
BIN = Path(sys.executable).parent
START_SECONDS = 60
EPILOG = """examples:
  python bench/serving.py --quick                         two minutes: is it in the right region?
  python bench/serving.py --artifact models/digits --rounds 5 --json > serving.json
  python bench/serving.py --soak 600 --overload 60        memory at saturation for ten minutes; five times too much load
"""
OVERLOADS = (64, 256)  # images in a request
FORMS = ("npy", "png")
ONE = {"label": 7, "seed": 5}
COMMANDS: dict[str, list[str | Path]] = {
    OURS: [BIN / "bentoml", "serve", "--port"],
    OURS_EVERYWHERE: [BIN / "bentoml", "serve", "--port"],
    "stock BentoML": [BIN / "bentoml", "serve", "peers.stock_bentoml:Stock", "--port"],
    "LitServe": [sys.executable, "-m", "peers.litserve_app"],
    BARE: [sys.executable, "-m", "peers.bare_starlette"],
}
FLOOR_COMMAND: list[str | Path] = [sys.executable, "-m", "peers.busy_wait"]
BODIES = {
    OURS: json.dumps(ONE | {"format": "png"}),
    OURS_EVERYWHERE: json.dumps(ONE | {"format": "png"}),
    "stock BentoML": json.dumps({"asks": [ONE]}),
    "LitServe": json.dumps(ONE),
    BARE: json.dumps(ONE),
    FLOOR: json.dumps(ONE),
}


def main() -> None:
    arguments = parse()
    if shutil.which("wrk") is None:
        sys.exit("bench/serving.py: wrk is missing; install it, e.g. apt-get install wrk")
    with tempfile.TemporaryDirectory() as folder:
        artifact = arguments.artifact.resolve() if arguments.artifact else make_artifact(Path(folder))
        found = measure(artifact, Path(folder), arguments)
    print(json.dumps(found, indent=2) if arguments.json else f"{found['machine']}\n\n{tables(found)}")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--artifact", type=Path, help="a 28x28 conditional artifact; default: one is trained")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5, help="of one measurement (default 5)")
    parser.add_argument("--soak", type=float, default=0, help="seconds at saturation, for memory (default: none)")
    parser.add_argument("--overload", type=float, default=0, help="seconds at five times the capacity (default: none)")
    parser.add_argument("--quick", action="store_true", help="one round of 3 seconds")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.rounds, arguments.seconds = 1, 3
    return arguments


def make_artifact(folder: Path) -> Path:
    """A generator with gan-train's defaults; what it draws doesn't matter here."""
    train = ["gan-train", "--type", "cgan", "--data", "digits", "--out", "runs/bench", "--steps", "20"]
    for command in ([*train, "--set", "evaluate_every=0"], ["gan-export", "runs/bench/ckpt.pt"]):
        say(" ".join(command))
        subprocess.run([BIN / command[0], *command[1:]], cwd=folder, check=True, capture_output=True)
    return folder / "models" / "bench"


def measure(artifact: Path, work: Path, arguments: argparse.Namespace) -> dict[str, object]:
    """Everything, in turns."""
    singles: dict[str, dict[str, list[float]]] = {name: {"1": [], "64": [], "latency": []} for name in COMMANDS}
    many: dict[str, dict[str, list[float]]] = {form: {OURS: [], OURS_EVERYWHERE: [], "limit": []} for form in FORMS}
    alone: dict[str, list[float]] = {"ready": [], "idle_cpu": []}
    burst: dict[str, list[float]] = {name: [] for name in COMMANDS}
    loops: dict[str, list[dict[str, object]]] = {name: [] for name in (OURS, FLOOR, BARE)}
    for turn in range(arguments.rounds):
        for name in list(COMMANDS) if turn % 2 == 0 else list(reversed(COMMANDS)):
            say(f"round {turn + 1} of {arguments.rounds}: {name}")
            with running(name, artifact, work) as (port, process, seconds):
                wrk(port, BODIES[name], 8, 1)
                rate, _ = wrk(port, BODIES[name], 64, arguments.seconds)
                singles[name]["64"].append(rate)
                if name in loops:
                    loops[name].append(at_rate(port, name, SHARE * rate, 2 * arguments.seconds))
                rate, latency = wrk(port, BODIES[name], 1, arguments.seconds)
                singles[name]["1"].append(rate)
                singles[name]["latency"].append(latency)
                burst[name] += bursts_in_between(port, name)
                if name in (OURS, OURS_EVERYWHERE):
                    for form, rates in many.items():
                        body = json.dumps({"n": 64, "seed": 0, "label": 7, "format": form})
                        rate, _ = wrk(port, body, 8, arguments.seconds)
                        rates[name].append(rate * 64)
                if name == OURS:
                    alone["ready"].append(seconds)
                    alone["idle_cpu"].append(idle_cpu(process))
            if name == OURS:
                busy = 1 / singles[OURS]["64"][-1]
                with running(FLOOR, artifact, work, BENCH_BUSY=str(busy)) as (port, _, _):
                    wrk(port, BODIES[FLOOR], 8, 1)
                    rate, _ = wrk(port, BODIES[FLOOR], 64, arguments.seconds)
                    loops[FLOOR].append(at_rate(port, FLOOR, SHARE * rate, 2 * arguments.seconds))
        for form, rates in many.items():
            rates["limit"].append(in_process(form, artifact, arguments.seconds))
    with running(OURS, artifact, work) as (port, process, _):
        wrk(port, BODIES[OURS], 64, 1)
        soaked = soak(port, process, arguments.soak) if arguments.soak else None
        over = [overloaded(port, n, arguments) for n in OVERLOADS] if arguments.overload else []
    return {
        "machine": f"{os.cpu_count()} cores of {processor()}, Python {platform.python_version()}",
        "rounds": arguments.rounds,
        "singles": singles,
        "many": many,
        "alone": alone,
        "burst": burst,
        "open_loop": loops,
        "soak": soaked,
        "overload": over,
    }


@contextmanager
def running(name: str, artifact: Path, work: Path, **variables: str) -> Iterator[tuple[int, psutil.Process, float]]:
    """A server, from its start to its end: its port, its process, and how long it took to answer.

    `variables`: of its environment, besides those that all have. Settings of the service that are in ours are not in
    its: what is measured would not be what the tables say.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    home = Path(tempfile.mkdtemp(dir=work))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GAN_")} | {
        "BENCH_ARTIFACT": str(artifact), "GAN_MODELS": str(artifact), "BENTOML_HOME": str(home),
        "BENTOML_DO_NOT_TRACK": "true", **variables,
    }  # fmt: skip
    if name == OURS_EVERYWHERE:
        environment["GAN_WORKERS"] = str(len(os.sched_getaffinity(0)))
    began = time.perf_counter()
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(
            [*COMMANDS.get(name, FLOOR_COMMAND), str(port)],
            cwd=ROOT if name in (OURS, OURS_EVERYWHERE) else BENCH,
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        while not answers(port, BODIES[name]):
            if process.poll() is not None or time.perf_counter() - began > START_SECONDS:
                sys.exit(f"bench/serving.py: {name} did not start:\n{(home / 'log').read_text()[-2000:]}")
            time.sleep(0.02)
        yield port, psutil.Process(process.pid), time.perf_counter() - began
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def answers(port: int, body: str) -> bool:
    """Whether POST /generate with this body has status 200; not while the server starts."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/generate", body.encode(), {"content-type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False


def wrk(port: int, body: str, connections: int, seconds: float) -> tuple[float, float]:
    """Requests per second, and mean latency in milliseconds; a closed loop. Ends the run if any answer was not 2xx, or
    none came: a server that drops connections would look fast."""
    script = f"wrk.method='POST'; wrk.body={json.dumps(body)}; wrk.headers['content-type']='application/json'"
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:
        file.write(script)
        file.flush()
        command = ["wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}", "--timeout", "30", "-s", file.name]
        done = subprocess.run(
            [*command, f"http://127.0.0.1:{port}/generate"], capture_output=True, text=True, check=True
        )
    if "Non-2xx" in done.stdout or "Socket errors" in done.stdout:
        sys.exit(f"bench/serving.py: the server refused requests, or broke connections:\n{done.stdout}")
    rate = re.search(r"Requests/sec:\s+([0-9.]+)", done.stdout)
    latency = re.search(r"Latency\s+([0-9.]+)(us|ms|s)\b", done.stdout)
    assert rate is not None
    assert latency is not None
    return float(rate[1]), float(latency[1]) * {"us": 1e-3, "ms": 1.0, "s": 1e3}[latency[2]]


def bursts_in_between(port: int, name: str) -> list[float]:
    """Seconds that the last of many new connections waited for its answer, while 32 others keep the server busy."""
    over = threading.Event()

    def keep_busy() -> None:
        while not over.is_set():  # however long the bursts take
            wrk(port, BODIES[name], 32, 6)

    with ThreadPoolExecutor(1) as apart:
        busy = apart.submit(keep_busy)
        try:
            return bursts(port, BODIES[name].encode())
        finally:
            over.set()
            busy.result()


def at_rate(port: int, name: str, rate: float, seconds: float) -> dict[str, object]:
    """What an open loop of so many requests a second measures."""
    psutil.cpu_times_percent()  # the next call tells of the time since this one
    outcome = open_loop(port, BODIES[name].encode(), rate, seconds)
    return {
        # Of the cores' time, what the host took for other guests: then a request is late, whoever serves it.
        "stolen": getattr(psutil.cpu_times_percent(), "steal", 0.0) / 100,
        "rate": rate, "p50": outcome.percentile(50), "p99": outcome.percentile(99), "statuses": outcome.statuses,
        "lost": int(rate * seconds) - sum(outcome.statuses.values()),  # not answered
    }  # fmt: skip


def in_process(form: str, artifact: Path, seconds: float) -> float:
    """Images per second without a server, with all cores in use."""
    done = subprocess.run(
        [sys.executable, "-m", "peers.in_process", form, str(seconds), str(len(os.sched_getaffinity(0)))],
        cwd=BENCH,
        env=os.environ | {"BENCH_ARTIFACT": str(artifact)},
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout)


def idle_cpu(process: psutil.Process, seconds: float = 5) -> float:
    """Share of one core that the server's processes use while nobody asks."""
    before = used(process)
    time.sleep(seconds)
    return (used(process) - before) / seconds


def used(process: psutil.Process) -> float:
    """Seconds of CPU that a process and its children have used so far."""
    return sum(sum(one.cpu_times()[:2]) for one in [process, *process.children(recursive=True)])


def soak(port: int, process: psutil.Process, seconds: float) -> dict[str, list[float]]:
    """Resident memory in MiB of all processes, minute by minute at saturation."""
    memory = []
    for _ in range(max(2, round(seconds / 60))):
        wrk(port, BODIES[OURS], 64, min(60, seconds))
        resident = sum(one.memory_info().rss for one in [process, *process.children(recursive=True)])
        memory.append(round(resident / 2**20, 1))
        say(f"soak: {memory[-1]} MiB")
    return {"mib": memory}


def overloaded(port: int, n: int, arguments: argparse.Namespace) -> dict[str, object]:
    """Five times what the service can take, in requests for n images."""
    body = json.dumps({"n": n, "seed": 0, "label": 7, "format": "npy"})
    saturated, _ = wrk(port, body, 8, max(10, arguments.seconds))
    say(f"overload: 5 times {saturated:.0f} requests a second for {n} images")
    found = overload(port, n, 5 * saturated, arguments.overload)
    return {"n": n, "saturated": saturated * n, **asdict(found)}


def say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
