"""ONNX files that somebody else made: read, checked and first run in a process of their own, or refused in one line."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import onnx

from .graphs.audit import shown
from .graphs.signature import GraphOptions
from .refusal import IntakeError
from .temporary import no_room

MIB: Final = 1024 * 1024
MAX_LINE: Final = 1000  # characters of what the process says
_KEPT: Final = (
    *("PATH", "HOME", "LANG", "LC_ALL", "TEMP", "TMP", "SYSTEMROOT"),
    *("PYTHONPATH", "PYTHONHOME", "PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX"),
    *("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"),
)
_OUT_OF_MEMORY: Final = ("MemoryError", "bad_alloc", "annot allocate memory", "an't allocate memory")


@dataclass(frozen=True)
class GraphLimits:
    """Bounds of a file and of the process that reads it.

    The process keeps `memory_bytes` beside its libraries (about 90 MiB) and eight times the file, which exists parsed,
    converted and loaded at once: under 1 GB in all for a file of some MiB, whatever it asks for.
    """

    max_file_bytes: int = 512 * MIB
    memory_bytes: int = 640 * MIB
    seconds: int = 180


@dataclass(frozen=True)
class GraphContents:
    """What a file holds."""

    model: onnx.ModelProto  # with serving's inputs and outputs, opset 17, no notes
    told: dict[str, Any]  # of the file: opset, producer, sha256, and how its own graph is called


def read_graph(path: Path, options: GraphOptions, limits: GraphLimits | None = None) -> GraphContents:
    """Read an ONNX file that somebody else wrote.

    Args:
        path: of the file.
        options: what the file does not tell.
        limits: how much it may ask for.

    Raises:
        IntakeError: missing, of another kind, damaged, too large, not safe, or ambiguous; one line with the path.
    """
    limits = limits or GraphLimits()
    try:
        with tempfile.TemporaryDirectory(prefix="gan-export-") as folder:
            target = Path(folder, "graph")
            told = _probe(path, target, options, limits)
            if "refused" in told:
                raise IntakeError(told["refused"])
            return GraphContents(onnx.load_model_from_string(target.read_bytes()), told)
    except OSError as error:
        reason = no_room(error) or f"can't be read: {error.strerror or error}"
        raise IntakeError(f"{path}: {reason}") from error
    except IntakeError as error:
        raise IntakeError(f"{path}: {error}") from error


def _probe(path: Path, target: Path, options: GraphOptions, limits: GraphLimits) -> dict[str, Any]:
    """What graphs/probe.py finds."""
    bounds = (limits.memory_bytes, limits.max_file_bytes, limits.seconds)
    # Of class names, only how many there are: a command line is no place for thousands.
    wishes = dataclasses.replace(options, classes=options.known_classes, class_names=None)
    said = json.dumps(dataclasses.asdict(wishes), default=list)
    command = [sys.executable, "-P", "-m", "gan_export.graphs.probe", str(path), str(target), *map(str, bounds), said]
    environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
    # ONNX Runtime leaves a file of its own among the temporary ones.
    environment |= {"OMP_NUM_THREADS": "1", "TMPDIR": str(target.parent)}
    try:
        done = subprocess.run(
            command,
            env=environment,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=limits.seconds,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise IntakeError(f"could not be read and run within {limits.seconds} s") from error
    lines = done.stdout.splitlines()
    if done.returncode or not lines:
        raise IntakeError(_reason(done, lines, limits))
    told: dict[str, Any] = json.loads(lines[-1])
    if "refused" in told:
        told["refused"] = "".join(one if one.isprintable() else "?" for one in told["refused"])[:MAX_LINE]
    return told


def _reason(done: subprocess.CompletedProcess[str], stages: list[str], limits: GraphLimits) -> str:
    """Why the process failed, in our own words."""
    if not stages:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        return f"can't be read: the reading process did not start: {shown(last)}"
    if any(sign in done.stderr for sign in _OUT_OF_MEMORY) and stages[-1].endswith("at once"):
        return (
            f"takes more memory than images of its size need to be {stages[-1]}; does it compare them with each other?"
        )
    if any(sign in done.stderr for sign in _OUT_OF_MEMORY):
        return f"takes more than {limits.memory_bytes // MIB:,} MiB of memory beyond its weights to be {stages[-1]}"
    if full := no_room(done.stderr):
        return full
    if done.returncode == -signal.SIGKILL:
        return (
            f"can't be {stages[-1]}: the process was killed (signal 9), probably as the machine ran out of memory; end "
            "other programs"
        )
    if done.returncode < 0:
        return f"is damaged: the process in which it was to be {stages[-1]} was ended by signal {-done.returncode}"
    last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
    return f"can't be {stages[-1]}: {shown(last)}"
