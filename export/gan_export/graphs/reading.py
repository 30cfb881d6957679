"""ONNX files that somebody else made: read, checked and first run in a process of their own, or refused in one line."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import onnx

from gan_export.refusal import IntakeError
from gan_export.untrusted.confined import MIB, explain_failure, run_confined
from gan_export.untrusted.temporary import no_room

from .signature import GraphOptions

MAX_LINE: Final = 1000  # characters of what the process says


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
    arguments = [str(path), str(target), *map(str, bounds), said]
    try:
        # ONNX Runtime leaves a file of its own among the temporary ones.
        done = run_confined("gan_export.graphs.probe", arguments, limits.seconds, {"TMPDIR": str(target.parent)})
    except subprocess.TimeoutExpired as error:
        raise IntakeError(
            f"could not be read and run within {limits.seconds} s; try again when the machine is less busy, or export "
            "a smaller generator"
        ) from error
    lines = done.stdout.splitlines()
    if done.returncode or not lines:
        raise IntakeError(_reason(done, lines, limits))
    told: dict[str, Any] = json.loads(lines[-1])
    if "refused" in told:
        told["refused"] = "".join(one if one.isprintable() else "?" for one in told["refused"])[:MAX_LINE]
    return told


def _reason(done: subprocess.CompletedProcess[str], stages: list[str], limits: GraphLimits) -> str:
    """Why the process failed, in our own words."""
    stage = stages[-1] if stages else ""
    too_much = f"takes more than {limits.memory_bytes // MIB:,} MiB of memory beyond its weights to be {stage}"
    if stage.endswith("at once"):
        too_much = (
            f"takes more memory than images of its size need to be {stage}; does it compare them with each other?"
        )
    return explain_failure(done, stage, too_much)
