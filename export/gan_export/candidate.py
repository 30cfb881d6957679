"""The candidate of a certificate: which batches it is run on, and how it is run in a process of its own."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .artifact import Manifest, draw

BATCHES: Final = (1, 2, 3, 7, 64)
SEEDS: Final = (0, 1_000_003, 2**52)
TAIL: Final = 4.0  # standard deviations
PROBE_SECONDS: Final = 600

Array: TypeAlias = NDArray[Any]


class CertificationError(RuntimeError):
    """The candidate could not be run at all; the message is one line."""


@dataclass(frozen=True)
class Case:
    """One batch that is run through both."""

    z: NDArray[np.float32]  # (N, latent_dim)
    label: NDArray[np.int64] | None  # (N,)


@dataclass(frozen=True)
class Result:
    """What the candidate made of a case."""

    image: Array  # uint8 (N, C, H, W)
    pixels: Array  # float32 (N, C, H, W)
    error: str | None = None


def make_cases(manifest: Manifest) -> dict[str, Case]:
    """The batches that a certificate is about: the declared latents, their tails and zero, every label, every batch."""
    dim, classes = manifest.latent.dim, manifest.classes
    cases: dict[str, Case] = {}

    def add(name: str, z: Array, label: Array | None = None) -> None:
        if classes and label is None:
            label = np.arange(len(z), dtype=np.int64) % classes
        cases[name] = Case(np.ascontiguousarray(z, np.float32), label)

    for seed in SEEDS:
        for batch in BATCHES:
            z = draw(range(seed, seed + batch), dim, manifest.latent.distribution).latents
            add(f"seed{seed}_batch{batch}", z)
    largest = cases[f"seed{SEEDS[0]}_batch{max(BATCHES)}"]
    add("repeat", largest.z, largest.label)
    for i in lone_positions(largest):
        add(f"alone{i}", largest.z[i : i + 1], None if largest.label is None else largest.label[i : i + 1])
    signs = np.where(largest.z[:3] >= 0, 1.0, -1.0)
    extreme = TAIL if manifest.latent.distribution == "normal" else 1.0
    add("tails", extreme * signs)
    add("zeros", np.zeros((2, dim)))
    add("latents", largest.z[:8], np.zeros(8, np.int64) if classes else None)
    if classes:
        add("labels", np.repeat(largest.z[:1], classes, 0), np.arange(classes, dtype=np.int64))
    return cases


def lone_positions(case: Case) -> range:
    """Positions whose image is also generated alone: first, last and some between."""
    return range(0, len(case.z), 9)


def run_candidate(directory: Path, variant: str, cases: dict[str, Case]) -> tuple[dict[str, Result], dict[str, float]]:
    """Run the cases in a fresh process (artifact/probe.py); returns their results and the speeds by batch size.

    Raises:
        CertificationError: the process failed, with its last line.
    """
    with tempfile.TemporaryDirectory() as folder:
        given, made = Path(folder) / "cases.npz", Path(folder) / "results.npz"
        arrays: dict[str, Array] = {}
        for name, case in cases.items():
            arrays[f"{name}.z"] = case.z
            if case.label is not None:
                arrays[f"{name}.label"] = case.label
        np.savez(given, **arrays)  # type: ignore[arg-type]
        command = [
            sys.executable,
            "-P",  # a file of the current folder must not stand in for a library
            "-m",
            "gan_export.artifact.probe",
            str(directory),
            variant,
            str(given),
            str(made),
        ]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=PROBE_SECONDS, check=False)
        except subprocess.TimeoutExpired as error:
            raise CertificationError(f"the exported graph did not finish within {PROBE_SECONDS} s") from error
        if done.returncode:
            last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
            raise CertificationError(f"the exported graph can't be run: {last}")
        with np.load(made, allow_pickle=False) as stored:
            results = {name: _result(stored, name) for name in cases}
            speeds = {key.partition(".")[2]: round(float(stored[key]), 1) for key in stored.files if "speed." in key}
    return results, speeds


def _result(stored: Any, name: str) -> Result:
    if f"{name}.error" in stored:
        return Result(np.empty(0), np.empty(0), str(stored[f"{name}.error"]))
    return Result(stored[f"{name}.image"], stored[f"{name}.pixels"])
