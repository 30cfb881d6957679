"""The candidate of a certificate: the file on disk, run in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np

from .array_file import read_arrays
from .cases import Array, Cases
from .providers import CPU, Provider

PROBE_SECONDS: Final = 600  # at least
IMAGE_SECONDS: Final = 2  # for each image, where there are more
ARRAYS: Final = "arrays"
REPORT: Final = "report.json"
"""What probe.py stores."""


class CertificationError(RuntimeError):
    """The candidate, or what it is compared with, could not be run at all; the message is one line, `code` stable."""

    def __init__(self, message: str, *, code: str = "unloadable") -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Result:
    """What the candidate made of a case, mapped from a file where there is a process of its own."""

    image: Array  # uint8 (N, C, H, W)
    pixels: Array  # float32 (N, C, H, W)
    error: str | None = None


Results: TypeAlias = dict[str, Result]


@dataclass(frozen=True)
class Speeds:
    """Images per second by batch size, in the fastest and in the slowest turn; no batch that was refused."""

    rates: dict[str, float] = field(default_factory=dict)
    slowest: dict[str, float] = field(default_factory=dict)

    @property
    def spread(self) -> float:
        """How many times as fast the fastest turn was as the slowest, of the batch size where that is largest."""
        return max((self.rates[batch] / rate for batch, rate in self.slowest.items() if rate > 0), default=1.0)


def run_candidate(
    directory: Path, variant: str, cases: Cases, provider: Provider = CPU, *, timed: bool = False
) -> tuple[Results, Speeds]:
    """Run the cases in a fresh process (probe.py); returns their results, and the speeds if `timed`.

    Raises:
        CertificationError: the process failed, with its last line.
    """
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        given = folder / "cases.npz"
        np.savez(given, **_arrays_of(cases))  # type: ignore[arg-type]
        arguments = [str(directory), variant, str(given), str(folder), provider.word, *(["timed"] if timed else [])]
        _probe(arguments, sum(len(case.z) for case in cases.values()))
        arrays, report = read_arrays(folder / ARRAYS), json.loads((folder / REPORT).read_text())
    results = {name: _result(arrays, name, report["errors"].get(name)) for name in cases}
    return results, Speeds(_rounded(report["speed"]), _rounded(report["slowest"]))


def _arrays_of(cases: Cases) -> dict[str, Array]:
    """As probe.py reads them."""
    arrays: dict[str, Array] = {}
    for name, case in cases.items():
        arrays[f"{name}.z"] = case.z
        if case.label is not None:
            arrays[f"{name}.label"] = case.label
        if case.threads:
            arrays[f"{name}.threads"] = np.array(case.threads)
    return arrays


def _probe(arguments: list[str], images: int) -> None:
    """Run probe.py, which has time for so many images; raises CertificationError where it fails."""
    # -P: a file of the current folder must not stand in for a library.
    command = [sys.executable, "-P", "-m", "gan_export.artifact.probe", *arguments]
    seconds = max(PROBE_SECONDS, IMAGE_SECONDS * images)
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired as error:
        raise CertificationError(f"the exported graph did not finish {images} images within {seconds} s") from error
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        code, tab, reason = last.rpartition("\t")  # the probe's own errors have a code
        raise CertificationError(f"the exported graph can't be run: {reason}", code=code if tab else "unloadable")


def _result(arrays: dict[str, Array], name: str, error: str | None) -> Result:
    if error is not None:
        return Result(np.empty(0), np.empty(0), error)
    return Result(arrays[f"{name}.image"], arrays[f"{name}.pixels"])


def _rounded(rates: dict[str, float]) -> dict[str, float]:
    return {batch: round(rate, 1) for batch, rate in rates.items()}
