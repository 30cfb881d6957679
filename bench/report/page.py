"""docs/performance.md: a section for each benchmark, from the results on disk and from nothing else."""

import string
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from . import client, faults, graphs, serving, training
from .markdown import table
from .results import Failure, Found, Machine, Result, read

QUICK = "**Quick settings: these figures show that the benchmark runs, and nothing else.**"


@dataclass(frozen=True)
class Section:
    """How one benchmark is shown."""

    title: str
    about: str
    tables: Callable[[Found], str]
    plot: Callable[[Found, Path], None] | None = None
    alt: str = ""


SECTIONS = {
    "graphs": Section(
        "Graphs",
        """\
Images/s of exported graphs. Cells are medians; each peer has its own process, and the peers take turns.

- `plain`: `torch.onnx.export`, in a session without options; `onnxslim` and the `openvino` columns use the same file.
- `eager` and `compile`: PyTorch. These and the peers above return float pixels.
- `ours` and `int8`: `gan-export`'s files, opened as the service opens them. They return bytes.
- `peak`: images/s times the plain graph's operations per image, as a share of the machine's matrix-product rate.

The nets are untrained, with the activations and contrast of trained ones. [graphs.md](graphs.md) describes the
rewrites.""",
        graphs.tables,
        graphs.plot,
        "Images/s relative to the plain export, by net",
    ),
    "serving": Section(
        "Serving",
        """\
All servers serve the same 28x28 artifact with one worker unless stated otherwise. Load generator and servers share
the cores. `stock BentoML` is a `batchable=True` API. `bare Starlette` has our batcher and encoder, but no checks,
metrics or log. The limit is a loop without a server on all cores. Servers take turns; a ratio is the median over
rounds, with the smallest and largest. The open loop measures latency from the moment a request was due.""",
        serving.tables,
        serving.plot,
        "Single images per second, by server",
    ),
    "training": Section(
        "Training",
        """\
`gan-train`'s trainer and [a plain PyTorch script](../bench/plain_script.py) run in turns. The script has the same
nets in float32 and NCHW, default Adam and a DataLoader. An image counts each time the critic sees it as real.""",
        training.tables,
        training.plot,
        "Images/s and memory relative to the plain script",
    ),
    "client": Section(
        "Client",
        """\
The client's calls are paired with bare HTTP calls (httpx, keep-alive) for the same bytes. The service answers the
calls from its cache, so that its own work does not blur the difference. Streams are generated anew.""",
        client.tables,
        client.plot,
        "Milliseconds added by each call, and images/s of streams",
    ),
    "faults": Section(
        "Faults caught",
        """\
Which check catches a broken export? Each row is a generator with one planted fault; `Good` has none. `-` marks a
fault that went unnoticed. [bench/README.md](../bench/README.md) explains the tables; [export.md](export.md) explains
the codes.""",
        faults.tables,
    ),
}


def write(page: Path, folder: Path) -> None:
    """The page and its plots (in images/ beside it) from the results in `folder`."""
    outcomes = {name: read(folder, name) for name in SECTIONS}
    parts = ["# Performance", INTRODUCTION, _runs([good for good, _ in outcomes.values() if good])]
    for name, section in SECTIONS.items():
        parts += [f"## {section.title}", section.about, *_body(name, section, *outcomes[name], page)]
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text("\n\n".join(part for part in parts if part) + "\n")


def rehearse(result: Result) -> None:
    """Write a result's section and plot nowhere: what can't be shown raises here, before it is kept."""
    name = result.run.benchmark
    with tempfile.TemporaryDirectory() as folder:
        _body(name, SECTIONS[name], result, None, Path(folder) / "performance.md")


INTRODUCTION = """\
`make bench` runs all benchmarks, stores the results as JSON in `bench/results/`, and writes this page from them.
`make bench ONLY=serving` repeats one part. All figures of a table come from one run on one machine; expect others on
other machines. What each benchmark does, and how to read its tables:
[bench/README.md](../bench/README.md)."""


def _runs(results: list[Result]) -> str:
    """When and where, a line for each result, and each machine once."""
    if not results:
        return ""
    machines = list(dict.fromkeys(result.run.machine for result in results))
    names = {machine: string.ascii_uppercase[i] if len(machines) > 1 else "" for i, machine in enumerate(machines)}
    rows = [
        [
            SECTIONS[run.benchmark].title,
            run.date,
            f"{run.seconds / 60:.0f} min" if run.seconds >= 90 else f"{run.seconds:.0f} s",
            f"{run.load:.1f}",
            *([names[run.machine]] if len(machines) > 1 else []),
            ", ".join(f"{package} {version}" for package, version in run.versions.items()),
            f"`{run.command}`",
        ]
        for run in (result.run for result in results)
    ]
    heads = ["part", "date", "took", "load before", *(["machine"] if len(machines) > 1 else []), "versions", "command"]
    where = [
        f"Machine {names[machine]}: {_described(machine)}".replace("Machine :", "Machine:") for machine in machines
    ]
    note = "`load before` is the machine's load average when the run began; above 0, other programs were running too."
    return "\n\n".join([*where, table(heads, rows), note])


def _described(machine: Machine) -> str:
    features = f" ({', '.join(machine.features)})" if machine.features else ""
    return (
        f"{machine.cores} cores of {machine.processor}{features}, {machine.memory_gib:g} GiB, {machine.system}, "
        f"Python {machine.python}."
    )


def _body(name: str, section: Section, good: Result | None, bad: Failure | None, page: Path) -> list[str]:
    parts = []
    if bad:
        rest = " What follows is from the previous run." if good else ""
        parts.append(f"**The run of {bad.run.date} failed: {bad.reason}**{rest}")
    if not good:
        return [*parts, f"There is no result; `make bench ONLY={name}` gets one."]
    if good.run.quick:
        parts.append(QUICK)
    if section.plot:
        image = page.parent / "images" / f"performance-{name}.png"
        section.plot(good.found, image)
        parts.append(f"![{section.alt}](images/{image.name})")
    return [*parts, section.tables(good.found)]
