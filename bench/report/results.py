"""Results of benchmarks as files: what was found, with which command, when, where and of which versions.

A result stands in NAME.json. A run that failed leaves it as it was and says why in NAME.failed.json; the next run that
succeeds removes that.
"""

import json
import os
import platform
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, TypeAlias

from gan_export.artifact.processor import features

Found: TypeAlias = dict[str, Any]
"""What a benchmark found, as its JSON file holds it."""

FEATURES = (
    "avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16", "asimd", "asimddp", "sve",
)  # fmt: skip
"""Of processors, as Linux names them: those that decide which kernels run."""


@dataclass(frozen=True)
class Machine:
    """Where it was measured."""

    processor: str
    features: tuple[str, ...]
    cores: int
    memory_gib: float
    system: str
    python: str

    @classmethod
    def this(cls) -> "Machine":
        """The machine that this runs on."""
        return cls(
            processor=processor(),
            features=tuple(name for name in FEATURES if name in features()),
            cores=os.cpu_count() or 1,
            memory_gib=round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
            system=platform.system(),
            python=platform.python_version(),
        )


def processor() -> str:
    """Its name; Linux tells most in /proc/cpuinfo."""
    return _pairs(Path("/proc/cpuinfo")).get("model name") or platform.processor() or platform.machine()


@dataclass(frozen=True)
class Run:
    """Of one benchmark."""

    benchmark: str
    command: str
    began: str  # UTC, ISO 8601
    seconds: float
    load: float  # of the machine when it began: processes that wanted to run, the mean of a minute
    quick: bool
    machine: Machine
    versions: dict[str, str]

    @property
    def date(self) -> str:
        return self.began[:10]


@dataclass(frozen=True)
class Result:
    """A run, and what it found."""

    run: Run
    found: Found


@dataclass(frozen=True)
class Failure:
    """A run without a result."""

    run: Run
    reason: str


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def versions_of(packages: tuple[str, ...]) -> dict[str, str]:
    """Those that are installed."""
    found = {}
    for name in packages:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def write(folder: Path, outcome: Result | Failure) -> None:
    """Keep an outcome in `folder`: a result removes the failure before it, a failure leaves the result as it is."""
    folder.mkdir(parents=True, exist_ok=True)
    name = outcome.run.benchmark
    failed = folder / f"{name}.failed.json"
    path = failed if isinstance(outcome, Failure) else folder / f"{name}.json"
    path.write_text(json.dumps(asdict(outcome), indent=1) + "\n")
    if path != failed:
        failed.unlink(missing_ok=True)


def read(folder: Path, name: str) -> tuple[Result | None, Failure | None]:
    """The last result, and the failure after it, of one benchmark."""
    good, bad = _content(folder / f"{name}.json"), _content(folder / f"{name}.failed.json")
    return (
        Result(_run(good["run"]), good["found"]) if good else None,
        Failure(_run(bad["run"]), bad["reason"]) if bad else None,
    )


def _content(path: Path) -> Found | None:
    return json.loads(path.read_text()) if path.exists() else None


def _run(fields: Found) -> Run:
    machine = Machine(**{**fields["machine"], "features": tuple(fields["machine"]["features"])})
    return Run(**{**fields, "machine": machine})


def _pairs(path: Path) -> dict[str, str]:
    """`name : value` of the first processor."""
    first = path.read_text().partition("\n\n")[0] if path.exists() else ""
    pairs = (line.partition(":") for line in first.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}
