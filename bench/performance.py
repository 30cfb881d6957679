"""Every benchmark, one after the other, and docs/performance.md of what they measured.

    python bench/performance.py                    # everything; `make bench` is this
    python bench/performance.py --help             # with examples

Each result is kept as JSON with its machine, versions and date, and the page is written from these files alone. A
benchmark that fails doesn't stop the others: its section says why, above the result of the run before, and the exit
code is 1.
"""

import argparse
import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from report import page
from report.results import Failure, Machine, Result, Run, now, versions_of, write

BENCH = Path(__file__).resolve().parent
ROOT = BENCH.parent
TRIAL = ROOT / "build" / "bench"
LONGEST = 2 * 3600.0  # seconds of one benchmark
STOP_SECONDS = 60
EPILOG = """examples:
  python bench/performance.py --only serving client       the others keep the results that they have
  python bench/performance.py --quick                     does it run? Into build/bench/, docs/ stays as it is
  python bench/performance.py --write-only                the page again, from results that are there
"""


@dataclass(frozen=True)
class Benchmark:
    """A program of this folder that prints JSON."""

    packages: tuple[str, ...]  # whose versions matter
    options: tuple[str, ...] = ()
    quick: tuple[str, ...] = ("--quick",)


BENCHMARKS = {
    "graphs": Benchmark(
        ("torch", "onnxruntime", "onnxslim", "openvino"),
        quick=("--nets", "cgan-mlp", "dcgan-28", "--peers", "plain", "ours", "int8", "--turns", "2"),
    ),
    "serving": Benchmark(
        ("bentoml", "litserve", "starlette", "onnxruntime", "uvloop"),
        ("--rounds", "3", "--soak", "180", "--overload", "20"),
    ),
    "training": Benchmark(("torch",)),
    "client": Benchmark(("httpx", "bentoml")),
    "faults": Benchmark(("torch", "onnx", "onnxruntime"), quick=("--only", "NanWeight", "WrongEps")),
}


def main() -> None:
    arguments = parse()
    failed = []
    for name in () if arguments.write_only else arguments.only:
        print(f"== {name}", file=sys.stderr, flush=True)
        outcome = run(name, quick=arguments.quick)
        write(arguments.results, outcome)
        page.write(arguments.page, arguments.results)
        if isinstance(outcome, Failure):
            failed.append(name)
            print(f"bench/performance.py: {name} failed: {outcome.reason}", file=sys.stderr)
    page.write(arguments.page, arguments.results)
    print(arguments.page)
    if failed:
        sys.exit(f"bench/performance.py: failed: {', '.join(failed)}")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=BENCHMARKS, default=list(BENCHMARKS), help="measure these")
    parser.add_argument("--quick", action="store_true", help="the quickest settings: does it run?")
    parser.add_argument("--write-only", action="store_true", help="measure nothing, write the page")
    parser.add_argument("--results", type=Path, help="folder of the JSON files (default: bench/results)")
    parser.add_argument("--page", type=Path, help="(default: docs/performance.md)")
    arguments = parser.parse_args()
    # What was measured quickly must not take the place of what was measured well.
    results, target = (TRIAL / "results", TRIAL / "performance.md") if arguments.quick else (BENCH / "results", None)
    arguments.results = (arguments.results or results).resolve()
    arguments.page = (arguments.page or target or ROOT / "docs" / "performance.md").resolve()
    return arguments


def run(name: str, *, quick: bool, longest: float = LONGEST) -> Result | Failure:
    """Run one benchmark to its end; its progress goes to stderr."""
    benchmark = BENCHMARKS[name]
    options = benchmark.quick if quick else benchmark.options
    command = [str(Path("bench") / f"{name}.py"), *options, "--json"]
    began, load, clock = now(), os.getloadavg()[0], time.monotonic()
    code, output, last = follow([sys.executable, *command], longest)
    done = Run(
        benchmark=name,
        command=shlex.join(["python", *command]),
        began=began,
        seconds=round(time.monotonic() - clock, 1),
        load=round(load, 2),
        quick=quick,
        machine=Machine.this(),
        versions=versions_of(benchmark.packages),
    )
    if code:
        return Failure(done, last or f"exit code {code}")
    try:
        result = Result(done, json.loads(output))
    except json.JSONDecodeError as error:
        return Failure(done, f"it printed no JSON: {error}")
    try:
        page.rehearse(result)
    except Exception as error:  # noqa: BLE001 - JSON of another shape may raise anything
        return Failure(done, f"its JSON can't be shown: {error!r}")
    return result


def follow(command: list[str], longest: float) -> tuple[int, str, str]:
    """Run a command in the repository; its exit code, its output and its last line of stderr, which is passed on."""
    with (
        tempfile.TemporaryFile("w+") as output,
        subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=subprocess.PIPE, text=True) as process,
    ):
        # As Ctrl-C does: the benchmarks stop the servers that they started. Then without asking.
        timers = [
            threading.Timer(longest, process.send_signal, [signal.SIGINT]),
            threading.Timer(longest + STOP_SECONDS, process.kill),
        ]
        for timer in timers:
            timer.start()
        try:
            assert process.stderr is not None
            last = ""
            for line in process.stderr:
                sys.stderr.write(line)
                last = line.strip() or last
            code = process.wait()
        finally:
            for timer in timers:
                timer.cancel()
        output.seek(0)
        return code, output.read(), last


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
